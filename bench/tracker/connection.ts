/** One HTTP connection of a simulated client: a request at a time, kept open as long as the server lets it. */
import { connect, type Socket } from 'node:net';

export interface Connection {
  /** Sends a whole request; answers with the status. Rejects when the connection breaks before the answer. */
  request(text: string): Promise<number>;
  close(): void;
}

interface Pending {
  readonly done: (status: number) => void;
  readonly failed: (error: Error) => void;
}

export function openConnection(port: number): Connection {
  let socket: Socket | undefined;
  let pending: Pending | undefined;
  let head = '';
  /** Of the body; undefined while the head is not complete, -1 when the end of the connection ends it. */
  let missing: number | undefined;
  let status = 0;

  const answered = (): void => {
    const waiting = pending;
    [pending, head, missing] = [undefined, '', undefined];
    waiting?.done(status);
  };
  const broken = (error: Error): void => {
    socket?.destroy();
    socket = undefined;
    if (missing === -1) {
      answered();
      return;
    }
    const waiting = pending;
    [pending, head, missing] = [undefined, '', undefined];
    waiting?.failed(error);
  };
  const received = (chunk: Buffer): void => {
    let body = chunk.length;
    if (missing === undefined) {
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      body = head.length - end - 4;
      status = Number(head.slice(9, 12));
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
      missing = length === undefined ? (status === 204 ? 0 : -1) : Number(length);
    }
    if (missing === -1) return;
    missing -= body;
    if (missing <= 0) answered();
  };

  return {
    request(text) {
      return new Promise((done, failed) => {
        pending = { done, failed };
        if (socket === undefined) {
          const fresh = connect({ port, host: '127.0.0.1', noDelay: true });
          fresh.on('data', received);
          fresh.on('error', (error) => fresh === socket && broken(error));
          fresh.on('close', () => fresh === socket && broken(new Error('the connection was closed')));
          socket = fresh;
        }
        socket.write(text);
      });
    },
    close() {
      const open = socket;
      socket = undefined;
      open?.destroy();
    },
  };
}
