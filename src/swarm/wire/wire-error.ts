/** A peer broke the protocol. The message names the rule; the connection is closed with it. */
export class WireError extends Error {
  override readonly name = 'WireError';
}
