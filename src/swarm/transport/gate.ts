/**
 * The gate before a connection belongs to a blob: it reads the peer's handshake, and nothing
 * else, within a deadline and a bound. What came behind the handshake is kept for its owner; the
 * connection is paused until the owner attaches to it.
 */
import { HANDSHAKE_BYTES, type Handshake, parseHandshake } from '../wire/index.ts';
import type { Connection } from './connection.ts';

/** A client may send its bitfield right behind the handshake: 100,000 pieces are 12.5 KB. */
const MAX_EARLY_BYTES = 256 * 1024;

export interface Greeting {
  readonly handshake: Handshake;
  /** Takes the bytes that came behind the handshake. */
  rest(): Buffer;
}

/** Waits for the peer's handshake. Rejects, with the connection closed, when it is none, late, or the connection ends. */
export function awaitHandshake(connection: Connection, deadlineMs: number): Promise<Greeting> {
  return new Promise((resolve, reject) => {
    let early: Buffer = Buffer.alloc(0);
    let done = false;

    function fail(reason: string): void {
      clearTimeout(timer);
      connection.close(reason);
      if (!done) reject(new Error(reason));
      done = true;
    }
    const timer = setTimeout(() => fail(`no handshake in ${deadlineMs} ms`), deadlineMs);

    connection.attach({
      closed: fail,
      data(chunk) {
        if (early.length + chunk.length > MAX_EARLY_BYTES) {
          fail('too much before the handshake was answered');
          return;
        }
        early = Buffer.concat([early, chunk]);
        if (done) return;
        try {
          const handshake = parseHandshake(early);
          if (handshake === undefined) return;
          done = true;
          clearTimeout(timer);
          connection.pause();
          resolve({
            handshake,
            rest() {
              const rest = early.subarray(HANDSHAKE_BYTES);
              early = early.subarray(0, HANDSHAKE_BYTES);
              return rest;
            },
          });
        } catch (error) {
          fail(error instanceof Error ? error.message : String(error));
        }
      },
    });
  });
}
