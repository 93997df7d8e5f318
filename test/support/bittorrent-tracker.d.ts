/** Just what the tests use of bittorrent-tracker 11.2.3's client, which has no types. The exact version is pinned. */
declare module 'bittorrent-tracker/client' {
  import { EventEmitter } from 'node:events';

  interface AnnounceOptions {
    readonly left: number;
    readonly numwant: number;
  }

  /** Emits `update`, `peer` ('host:port') for each peer of an answer right after it, `warning` and `error`. */
  export default class Client extends EventEmitter {
    constructor(options: {
      readonly infoHash: string;
      readonly peerId: string;
      readonly announce: readonly string[];
      readonly port: number;
      readonly wrtc: false;
    });
    start(options: AnnounceOptions): void;
    update(options: AnnounceOptions): void;
    complete(options: AnnounceOptions): void;
    stop(options: AnnounceOptions): void;
    scrape(options: Readonly<Record<string, never>>): void;
    /** 0 ends the repeated announces. */
    setInterval(intervalMs: number): void;
    destroy(done?: () => void): void;
  }
}
