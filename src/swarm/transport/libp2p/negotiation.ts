/**
 * The part of a connection's life in which libp2p talks on it: choosing protocols and the Noise
 * handshake. It shows a `Connection` as libp2p's message stream. When libp2p has agreed, the
 * connection is taken back by `release`, and the bytes of blobs never pass libp2p's own buffers,
 * lists and events, which cost more than the encryption. What stays with libp2p is a handle to
 * close it by.
 */
import type { MultiaddrConnection, Stream } from '@libp2p/interface';
import { AbstractMessageStream, type SendResult } from '@libp2p/utils';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';

/** libp2p's kinds of logger and of buffer. */
type Log = AbstractMessageStream['log'];
type Bytes = Parameters<AbstractMessageStream['unshift']>[0];
type List = Exclude<Bytes, Uint8Array>;

/** A negotiation is some hundred bytes; what comes behind it waits in the buffer, one read at most. */
const MAX_BUFFERED_BYTES = 512 * 1024;

export interface Released {
  readonly connection: Connection;
  /** Bytes that came behind the negotiation, in order. */
  readonly rest: readonly Uint8Array[];
}

export interface NegotiationInit {
  readonly connection: Connection;
  readonly log: Log;
  readonly id: string;
  readonly remoteAddr: Multiaddr;
}

/** A connection or a stream while libp2p negotiates on it. */
export class Negotiation extends AbstractMessageStream implements MultiaddrConnection, Stream {
  readonly id: string;
  readonly remoteAddr: Multiaddr;
  protocol = '';
  readonly #connection: Connection;
  #held: Uint8Array[] | undefined;

  constructor({ connection, log, id, remoteAddr }: NegotiationInit) {
    super({
      log,
      direction: connection.incoming ? 'inbound' : 'outbound',
      maxReadBufferLength: MAX_BUFFERED_BYTES,
    });
    this.id = id;
    this.remoteAddr = remoteAddr;
    this.#connection = connection;
    connection.onClosed(() => this.onTransportClosed());
    connection.attach({
      data: (chunk) => {
        if (this.#held === undefined) this.onData(Buffer.from(chunk));
        else this.#held.push(Buffer.from(chunk));
      },
      ended: () => this.onRemoteCloseWrite(),
      closed: () => undefined,
    });
  }

  /** Whether the connection was taken back from libp2p, or is about to be. */
  get held(): boolean {
    return this.#held !== undefined;
  }

  /**
   * From now on what comes is kept for `release`: libp2p hears nothing more. For a handshake that
   * ends inside libp2p, before it can hand the connection back.
   */
  hold(): void {
    if (this.#held !== undefined) return;
    this.#held = this.#takeBuffered();
    this.#connection.pause();
  }

  /** Takes the connection back, paused until its next owner attaches. */
  release(): Released {
    this.hold();
    return { connection: this.#connection, rest: this.#held ?? [] };
  }

  #takeBuffered(): Uint8Array[] {
    const buffered = [...this.readBuffer];
    this.readBuffer.consume(this.readBuffer.byteLength);
    return buffered;
  }

  /** libp2p's readers give back what they read too far. */
  override unshift(data: Bytes): void {
    if (this.#held === undefined) super.unshift(data);
    else this.#held.unshift(...(data instanceof Uint8Array ? [data] : data));
  }

  override sendData(data: List): SendResult {
    this.#connection.write([...data]);
    return { sentBytes: data.byteLength, canSendMore: true };
  }

  override sendReset(error: Error): void {
    this.#connection.close(error.message);
  }

  override sendPause(): void {
    this.#connection.pause();
  }

  override sendResume(): void {
    this.#connection.resume();
  }

  override async close(): Promise<void> {
    this.#connection.close('closed');
  }

  closeRead(): Promise<void> {
    return this.close();
  }
}
