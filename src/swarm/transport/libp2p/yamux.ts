/**
 * Yamux (https://github.com/libp2p/specs/tree/master/yamux): many streams on one connection, each
 * a `Connection` with a window of its own. Data is handed on as it comes: a frame is never
 * gathered, so what a peer claims in a header costs no memory. Streams take turns by runs of
 * frames, and wait for the socket, not in it. The session ends, with this peer alone, when it
 * - breaks the protocol, or sends more than a window allows
 * - opens streams faster than a member does, or makes us answer more than it reads
 */
import type { Connection, ConnectionEvents } from '../connection.ts';
import { createSendQueue, type SendQueue } from './send-queue.ts';
import {
  createFrameReader,
  encodeHeader,
  FLAG,
  FRAME_BYTES,
  HEADER_BYTES,
  type Header,
  TYPE,
  YamuxError,
} from './yamux-frames.ts';

/** Given by the protocol: what either side may send before the first update. */
const FIRST_WINDOW = 256 * 1024;

/**
 * A stream that is being read is given this much. It costs memory only if its reader pauses, and is
 * what the sender goes on with while the reader waits for a processor.
 */
const WIDE_WINDOW = 8 * 1024 * 1024;

/** Streams of one connection that have a wide window at the same time. */
const MAX_WIDE_STREAMS = 16;

/** Frames of one stream in a row. */
const RUN_FRAMES = 4;

/** Unsent bytes on the connection above which streams wait. */
const HIGH_WATER_BYTES = 512 * 1024;

/** Answers (window updates, pings, resets) that wait for a socket that is not read. */
const MAX_CONTROL_BYTES = 64 * 1024;

/** Streams that the peer may open: a burst, and a pace. */
const OPENING_BURST = 256;
const OPENING_PER_SECOND = 64;

export interface YamuxOptions {
  readonly connection: Connection;
  /** Bytes that came before; read by `start`. */
  readonly rest: readonly Uint8Array[];
  /** Streams that the peer may have open; more are reset. */
  readonly maxStreams: number;
  /** The peer opened a stream; nothing of it is read until it is attached to. */
  readonly accept: (stream: YamuxStream) => void;
  /** A session without streams is closed after this long. */
  readonly idleMs: number;
}

export interface YamuxStream extends Connection {
  readonly id: number;
  /** We write no more, behind what was written; the other side may. */
  end(): void;
}

export interface Yamux {
  /** Begins to read. */
  start(): void;
  /** Opens a stream; throws when the session is over or the peer takes no more. */
  open(): YamuxStream;
  close(reason: string): void;
}

interface State {
  readonly id: number;
  readonly stream: YamuxStream;
  /** What we may still send, and what the peer may. */
  sendWindow: number;
  receiveWindow: number;
  /** The size of our window, and how much of it was used and not given back yet. */
  receiveLimit: number;
  consumed: number;
  readonly queue: SendQueue;
  readonly kept: Buffer[];
  paused: boolean;
  /** No more is written: by us, once the queue is empty, and by the peer. */
  ending: boolean;
  ended: boolean;
  remoteEnded: boolean;
  /** The reason, when it is over. */
  over: string | undefined;
  events: ConnectionEvents | undefined;
  readonly listeners: (() => void)[];
}

export function createYamux(options: YamuxOptions): Yamux {
  const { connection } = options;
  const streams = new Map<number, State>();
  /** Streams with something to send and a window for it, in the order of their turns. */
  const ready = new Set<State>();
  const control: Buffer[] = [];
  let controlBytes = 0;
  let unansweredBytes = 0;
  let flushing = false;
  let nextId = connection.incoming ? 2 : 1;
  let lastRemoteId = 0;
  let wide = 0;
  /** Bytes that may still come for streams that are over. */
  let strayBytes = 0;
  let openings = OPENING_BURST;
  let openedAt = performance.now();
  let leaving = false;
  let over: string | undefined;
  let idle: NodeJS.Timeout | undefined;
  /** Whose data frame is arriving. */
  let bodyOf: State | undefined;

  const isOurs = (id: number): boolean => id % 2 === nextId % 2;

  /** Control frames leave together at the end of the current event, before any data. */
  function sendControl(type: number, flags: number, id: number, length: number): void {
    if (over !== undefined) return;
    control.push(encodeHeader(type, flags, id, length));
    controlBytes += HEADER_BYTES;
    if (controlBytes + unansweredBytes > MAX_CONTROL_BYTES) close('does not read our answers');
    if (flushing || over !== undefined) return;
    flushing = true;
    queueMicrotask(() => {
      flushing = false;
      if (over === undefined && control.length > 0) write([], []);
    });
  }

  function write(parts: Uint8Array[], taken: readonly (() => void)[]): void {
    const answers = controlBytes;
    controlBytes = 0;
    unansweredBytes += answers;
    connection.write([...control.splice(0), ...parts], () => {
      unansweredBytes -= answers;
      for (const call of taken) call();
      pump();
    });
  }

  function pump(): void {
    while (over === undefined && connection.unsent < HIGH_WATER_BYTES) {
      const [state] = ready;
      if (state === undefined) return;
      ready.delete(state);
      const parts: Uint8Array[] = [];
      const taken: (() => void)[] = [];
      for (let frames = 0; frames < RUN_FRAMES && !state.queue.isEmpty && state.sendWindow > 0; frames++) {
        const at = parts.push(Buffer.alloc(0)) - 1;
        const bytes = state.queue.take(Math.min(FRAME_BYTES, state.sendWindow), parts, taken);
        state.sendWindow -= bytes;
        parts[at] = encodeHeader(TYPE.data, 0, state.id, bytes);
      }
      enlist(state);
      write(parts, taken);
      endWhenSent(state);
    }
  }

  /** The end of our direction goes behind all that was written. */
  function endWhenSent(state: State): void {
    if (!state.ending || state.ended || state.over !== undefined || !state.queue.isEmpty) return;
    state.ended = true;
    sendControl(TYPE.windowUpdate, FLAG.fin, state.id, 0);
    if (state.remoteEnded) finish(state, 'closed');
  }

  /** The peer's direction is over and all of it was delivered. */
  function endRemote(state: State): void {
    if (state.events?.ended !== undefined && !state.ended) {
      state.events.ended();
      return;
    }
    // A BitTorrent connection has no half: the other direction ends too.
    if (!state.ended) sendControl(TYPE.windowUpdate, FLAG.fin, state.id, 0);
    finish(state, 'closed by the peer');
  }

  function enlist(state: State): void {
    if (state.over === undefined && !state.queue.isEmpty && state.sendWindow > 0) ready.add(state);
  }

  /** Gives back what the reader took, in steps of half a window. */
  function consume(state: State, bytes: number): void {
    state.consumed += bytes;
    if (state.consumed * 2 < state.receiveLimit || state.over !== undefined) return;
    let more = state.consumed;
    if (state.receiveLimit === FIRST_WINDOW && wide < MAX_WIDE_STREAMS) {
      wide++;
      more += WIDE_WINDOW - FIRST_WINDOW;
      state.receiveLimit = WIDE_WINDOW;
    }
    state.receiveWindow += more;
    state.consumed = 0;
    sendControl(TYPE.windowUpdate, 0, state.id, more);
  }

  function deliver(state: State, chunk: Buffer): void {
    if (state.paused) {
      state.kept.push(Buffer.from(chunk));
      return;
    }
    state.events?.data(chunk);
    consume(state, chunk.length);
  }

  function finish(state: State, reason: string): void {
    if (state.over !== undefined) return;
    state.over = reason;
    streams.delete(state.id);
    ready.delete(state);
    if (state.receiveLimit === WIDE_WINDOW) wide--;
    strayBytes += state.receiveWindow;
    if (bodyOf === state) bodyOf = undefined;
    state.kept.length = 0;
    for (const taken of state.queue.drop()) taken();
    state.events?.closed(reason);
    for (const listener of state.listeners) listener();
    rest();
  }

  /** Without streams the session waits a while, and ends. */
  function rest(): void {
    if (streams.size > 0 || over !== undefined) return;
    clearTimeout(idle);
    if (leaving) {
      close('closed by the peer');
      return;
    }
    idle = setTimeout(() => close('idle'), options.idleMs);
    idle.unref();
  }

  function resume(state: State): void {
    state.paused = false;
    let bytes = 0;
    while (state.kept.length > 0 && !state.paused && state.over === undefined) {
      const chunk = state.kept.shift();
      if (chunk === undefined) break;
      bytes += chunk.length;
      state.events?.data(chunk);
    }
    if (bytes > 0) consume(state, bytes);
    if (state.remoteEnded && state.kept.length === 0 && state.over === undefined) endRemote(state);
  }

  function createStream(id: number): State {
    clearTimeout(idle);
    const stream: YamuxStream = {
      id,
      transport: 'libp2p',
      host: connection.host,
      port: connection.port,
      ...(connection.memberId !== undefined && { memberId: connection.memberId }),
      incoming: !isOurs(id),
      get unsent() {
        return state.queue.bytes;
      },
      attach(next) {
        state.events = next;
        if (state.over !== undefined) next.closed(state.over);
        else if (state.paused) resume(state);
        else if (state.remoteEnded) endRemote(state);
      },
      onClosed(listener) {
        if (state.over !== undefined) listener();
        else state.listeners.push(listener);
      },
      pause() {
        state.paused = true;
      },
      resume: () => resume(state),
      write(parts, taken) {
        if (state.over !== undefined || state.ending) {
          taken?.();
          return;
        }
        state.queue.push(parts, taken);
        enlist(state);
        pump();
      },
      end() {
        state.ending = true;
        endWhenSent(state);
      },
      close(reason) {
        if (state.over !== undefined) return;
        sendControl(TYPE.windowUpdate, FLAG.rst, id, 0);
        finish(state, reason);
      },
    };
    const state: State = {
      id,
      stream,
      sendWindow: FIRST_WINDOW,
      receiveWindow: FIRST_WINDOW,
      receiveLimit: FIRST_WINDOW,
      consumed: 0,
      queue: createSendQueue(),
      kept: [],
      paused: true,
      ending: false,
      ended: false,
      remoteEnded: false,
      over: undefined,
      events: undefined,
      listeners: [],
    };
    streams.set(id, state);
    return state;
  }

  /** The peer opens a stream. */
  function accept(id: number): void {
    if (isOurs(id) || id <= lastRemoteId) throw new YamuxError(`stream ${id} cannot be opened`);
    lastRemoteId = id;
    const now = performance.now();
    openings = Math.min(OPENING_BURST, openings + ((now - openedAt) / 1000) * OPENING_PER_SECOND) - 1;
    openedAt = now;
    if (openings < 0) throw new YamuxError('flood of streams');
    let theirs = 0;
    for (const open of streams.keys()) if (!isOurs(open)) theirs++;
    if (theirs >= options.maxStreams || leaving) {
      strayBytes += FIRST_WINDOW;
      sendControl(TYPE.windowUpdate, FLAG.rst, id, 0);
      return;
    }
    const { stream } = createStream(id);
    sendControl(TYPE.windowUpdate, FLAG.ack, id, 0);
    options.accept(stream);
  }

  function onStreamFrame({ type, flags, id, length }: Header): void {
    if ((flags & FLAG.syn) !== 0) accept(id);
    const state = streams.get(id);
    if (state === undefined && (isOurs(id) ? id >= nextId : id > lastRemoteId)) {
      throw new YamuxError(`stream ${id} was not opened`);
    }
    if (type === TYPE.data) {
      if (state?.remoteEnded && length > 0) throw new YamuxError('data behind the end');
      if (state === undefined) strayBytes -= length;
      else state.receiveWindow -= length;
      if ((state?.receiveWindow ?? strayBytes) < 0) throw new YamuxError('more than its window');
      bodyOf = state;
    } else if (state !== undefined) {
      state.sendWindow += length;
      if (state.sendWindow > 0xffff_ffff) throw new YamuxError('a window without end');
      enlist(state);
    }
    if (state === undefined) return;
    if ((flags & FLAG.rst) !== 0) {
      finish(state, 'closed by the peer');
    } else if ((flags & FLAG.fin) !== 0) {
      if (type === TYPE.data && length > 0) throw new YamuxError('data behind the end');
      state.remoteEnded = true;
      if (state.paused && state.events?.ended !== undefined) return;
      endRemote(state);
    }
  }

  function onHeader(header: Header): void {
    const { type, flags, id, length } = header;
    if (type === TYPE.ping) {
      // We never ask, so an answer is a lie that changes nothing.
      if ((flags & FLAG.syn) !== 0) sendControl(TYPE.ping, FLAG.ack, 0, length);
    } else if (type === TYPE.goAway) {
      leaving = true;
      if (streams.size === 0) close('closed by the peer');
    } else if (type === TYPE.data || type === TYPE.windowUpdate) {
      if (id === 0) throw new YamuxError('data for the session');
      onStreamFrame(header);
    } else {
      throw new YamuxError(`frame of type ${type}`);
    }
  }

  const reader = createFrameReader({
    header: onHeader,
    body(piece) {
      if (bodyOf !== undefined) deliver(bodyOf, piece);
    },
    over: () => over !== undefined,
  });

  function data(chunk: Buffer): void {
    try {
      reader.read(chunk);
      pump();
    } catch (error) {
      if (!(error instanceof YamuxError)) throw error;
      close(`broke yamux: ${error.message}`);
    }
  }

  function end(reason: string): void {
    if (over !== undefined) return;
    over = reason;
    clearTimeout(idle);
    for (const state of [...streams.values()]) finish(state, reason);
  }

  function close(reason: string): void {
    if (over !== undefined) return;
    connection.write([encodeHeader(TYPE.goAway, 0, 0, 0)]);
    end(reason);
    connection.close(reason);
  }

  return {
    start() {
      for (const chunk of options.rest) data(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
      connection.attach({ data, closed: end });
      rest();
    },
    open() {
      if (over !== undefined || leaving) throw new Error(over ?? 'the peer is leaving');
      const id = nextId;
      nextId += 2;
      const { stream } = createStream(id);
      sendControl(TYPE.windowUpdate, FLAG.syn, id, 0);
      return stream;
    },
    close,
  };
}
