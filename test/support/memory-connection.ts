/** Two ends of a connection in memory: what one writes the other reads, in the order of events. */
import type { Connection, ConnectionEvents } from '../../src/swarm/transport/index.ts';

/** Bytes that one read hands over; small, so that messages are cut. */
const READ_BYTES = 10_000;

interface End {
  readonly connection: Connection;
  /** What the other end wrote and this one has not read. */
  readonly arriving: { bytes: Buffer; taken: (() => void) | undefined }[];
  paused: boolean;
  closed: string | undefined;
  events: ConnectionEvents | undefined;
  readonly listeners: (() => void)[];
  delivering: boolean;
}

function createEnd(incoming: boolean, other: () => End): End {
  function finish(reason: string): void {
    if (end.closed !== undefined) return;
    end.closed = reason;
    for (const { taken } of end.arriving.splice(0)) taken?.();
    end.events?.closed(reason);
    for (const listener of end.listeners) listener();
  }

  function deliver(to: End): void {
    if (to.delivering) return;
    to.delivering = true;
    setImmediate(() => {
      to.delivering = false;
      if (to.paused || to.closed !== undefined) return;
      const next = to.arriving[0];
      if (next === undefined) return;
      const now = next.bytes.subarray(0, READ_BYTES);
      next.bytes = next.bytes.subarray(now.length);
      if (next.bytes.length === 0) to.arriving.shift();
      // The receiver may not keep the chunk: it is wiped when the call is over.
      const chunk = Buffer.from(now);
      to.events?.data(chunk);
      chunk.fill(0xee);
      if (next.bytes.length === 0) next.taken?.();
      deliver(to);
    });
  }

  const connection: Connection = {
    transport: 'tcp',
    host: '127.0.0.1',
    port: incoming ? 50_000 : 6_881,
    incoming,
    get unsent() {
      return other().arriving.reduce((sum, { bytes }) => sum + bytes.length, 0);
    },
    attach(events) {
      end.events = events;
      if (end.closed !== undefined) events.closed(end.closed);
      else if (end.paused) connection.resume();
    },
    onClosed(listener) {
      if (end.closed !== undefined) listener();
      else end.listeners.push(listener);
    },
    pause() {
      end.paused = true;
    },
    resume() {
      end.paused = false;
      deliver(end);
    },
    write(parts, taken) {
      if (end.closed !== undefined || other().closed !== undefined) {
        taken?.();
        return;
      }
      other().arriving.push({ bytes: Buffer.concat(parts), taken });
      deliver(other());
    },
    close(reason) {
      finish(reason);
      // The other end hears of it after what is on its way, as over a socket.
      setImmediate(() => {
        const { arriving, events } = other();
        for (const { bytes, taken } of arriving.splice(0)) {
          if (other().closed === undefined && !other().paused) events?.data(bytes);
          taken?.();
        }
        otherFinish('closed by the peer');
      });
    },
  };
  const otherFinish = (reason: string): void => finishes.get(other())?.(reason);
  const end: End = {
    connection,
    arriving: [],
    paused: true,
    closed: undefined,
    events: undefined,
    listeners: [],
    delivering: false,
  };
  finishes.set(end, finish);
  return end;
}

const finishes = new WeakMap<End, (reason: string) => void>();

/** A connection of two ends. */
export function memoryPair(): { readonly dialled: Connection; readonly accepted: Connection } {
  const dialled: End = createEnd(false, () => accepted);
  const accepted: End = createEnd(true, () => dialled);
  return { dialled: dialled.connection, accepted: accepted.connection };
}
