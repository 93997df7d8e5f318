/** Our yamux as libp2p's stream muxer: libp2p negotiates on each stream, then lets go of it. */
import {
  type Stream,
  type StreamMuxer,
  type StreamMuxerEvents,
  type StreamMuxerFactory,
  type StreamMuxerStatus,
  TypedEventEmitter,
} from '@libp2p/interface';
import { Negotiation } from './negotiation.ts';
import { ServiceStream } from './service-stream.ts';
import { createYamux, type Yamux, type YamuxStream } from './yamux.ts';

export interface MuxerLimits {
  /** Streams that the other side may have open on one connection. */
  readonly maxStreams: number;
  /** A connection without streams is closed after this long. */
  readonly idleMs: number;
}

class Muxer extends TypedEventEmitter<StreamMuxerEvents> implements StreamMuxer {
  readonly protocol: string;
  readonly streams: Stream[] = [];
  status: StreamMuxerStatus = 'open';
  readonly #below: Negotiation;
  readonly #yamux: Yamux;
  #started = false;

  constructor(below: Negotiation, protocol: string, limits: MuxerLimits) {
    super();
    this.protocol = protocol;
    this.#below = below;
    const { connection, rest } = below.release();
    connection.onClosed(() => {
      this.status = 'closed';
    });
    this.#yamux = createYamux({
      connection,
      rest,
      ...limits,
      accept: (stream) => this.safeDispatchEvent('stream', { detail: this.#track(stream) }),
    });
  }

  /** Nothing is read before libp2p listens for streams, or it would miss the first. */
  override addEventListener(
    ...args: Parameters<TypedEventEmitter<StreamMuxerEvents>['addEventListener']>
  ): void {
    super.addEventListener(...args);
    if (args[0] !== 'stream' || this.#started) return;
    this.#started = true;
    queueMicrotask(() => this.#yamux.start());
  }

  #track(connection: YamuxStream): ServiceStream {
    const { log, remoteAddr } = this.#below;
    const stream = new ServiceStream({ connection, log, remoteAddr });
    this.streams.push(stream);
    connection.onClosed(() => this.streams.splice(this.streams.indexOf(stream), 1));
    return stream;
  }

  async createStream(): Promise<Stream> {
    return this.#track(this.#yamux.open());
  }

  abort(error: Error): void {
    this.#yamux.close(error.message);
  }

  async close(): Promise<void> {
    this.#yamux.close('closed');
  }
}

/** The factory that libp2p asks for. */
export function createMuxerFactory(limits: MuxerLimits): StreamMuxerFactory {
  const protocol = '/yamux/1.0.0';
  return {
    protocol,
    createStreamMuxer(stream) {
      if (!(stream instanceof Negotiation)) throw new Error('not a connection of ours');
      return new Muxer(stream, protocol, limits);
    },
  };
}
