/** An RFC 9457 problem: the error body of everything outside `/v2`. */
export class ProblemError extends Error {
  readonly status: number;
  readonly title: string;

  constructor(status: number, title: string, detail: string) {
    super(detail);
    this.name = 'ProblemError';
    this.status = status;
    this.title = title;
  }

  body(): { type: string; title: string; status: number; detail: string } {
    return { type: 'about:blank', title: this.title, status: this.status, detail: this.message };
  }
}
