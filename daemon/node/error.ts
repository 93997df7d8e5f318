/** A failure that the operator can mend; the message says how. */
export class NodeSetupError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NodeSetupError';
  }
}
