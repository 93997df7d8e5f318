/**
 * A stream as libp2p's own services use it (identify, ping, Kad-DHT): each direction ends by itself, so
 * that an answer can still come behind the end of a question. A stream that is taken back, as those of
 * BitTorrent are, ends whole.
 */
import { Negotiation, type NegotiationInit } from './negotiation.ts';
import type { YamuxStream } from './yamux.ts';

/** How long the other side may go on after we have ended; then the stream is reset, so that it never stays for ever. */
const LINGER_MS = 10_000;

export class ServiceStream extends Negotiation {
  readonly #stream: YamuxStream;

  constructor(init: Omit<NegotiationInit, 'connection' | 'id'> & { readonly connection: YamuxStream }) {
    super({ ...init, id: `${init.connection.id}` });
    this.#stream = init.connection;
  }

  override async close(): Promise<void> {
    if (this.held) return super.close();
    if (this.writeStatus === 'closing' || this.writeStatus === 'closed') return;
    this.writeStatus = 'closed';
    this.#stream.end();
    if (this.remoteWriteStatus === 'closed') {
      this.onTransportClosed();
      return;
    }
    const late = setTimeout(() => this.#stream.close('did not end'), LINGER_MS);
    late.unref();
    this.#stream.onClosed(() => clearTimeout(late));
  }

  /** What still comes is not kept. */
  override async closeRead(): Promise<void> {
    if (this.held) return super.close();
    if (this.readStatus === 'closing' || this.readStatus === 'closed') return;
    this.readBuffer.consume(this.readBuffer.byteLength);
    this.readStatus = 'closed';
    this.maybeDispatchEnd();
  }
}
