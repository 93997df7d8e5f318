/** Just what we use of bittorrent-tracker 11.2.3's server, which has no types. The exact version is pinned. */
declare module 'bittorrent-tracker/server' {
  import { EventEmitter } from 'node:events';

  /** A parsed announce; `info_hash` and `peer_id` are hex. */
  export interface AnnounceParams {
    readonly type: 'http' | 'udp';
    readonly info_hash: string;
    readonly peer_id: string;
    readonly ip: string;
    readonly port: number;
    readonly left: number;
    readonly event: 'started' | 'completed' | 'stopped' | 'update' | 'paused';
    readonly numwant: number;
    /** A parameter of ours, over HTTP: the short form of a multiaddr. */
    readonly peer?: string;
    /** 1: the server packs `peers`; 0: it makes dictionaries of them; else it takes them as they are. */
    compact: number;
  }

  export interface AnnounceAnswer {
    /** Seconds. */
    readonly interval: number;
    readonly complete: number;
    readonly incomplete: number;
    readonly peers: unknown;
    readonly peers6?: Uint8Array;
  }

  /** What `getSwarm` answers with. */
  export interface ServerSwarm {
    announce(params: AnnounceParams, done: (error: Error | null, answer?: AnnounceAnswer) => void): void;
    scrape(
      params: unknown,
      done: (error: Error | null, counts?: { complete: number; incomplete: number }) => void,
    ): void;
  }

  /** Where UDP answers go. */
  export interface DatagramSender {
    send(message: Uint8Array, offset: number, length: number, port: number, address: string): void;
    close(): void;
  }

  export default class Server extends EventEmitter {
    constructor(options: {
      readonly http: false;
      readonly udp: false;
      readonly ws: false;
      readonly stats: false;
      readonly filter: (
        infoHash: string,
        params: AnnounceParams,
        done: (error: Error | null) => void,
      ) => void;
    });
    udp4: DatagramSender | null;
    udp6: DatagramSender | null;
    getSwarm(infoHash: string, done: (error: Error | null, swarm?: ServerSwarm) => void): void;
    onHttpRequest(
      request: {
        readonly url: string;
        readonly headers: Readonly<Record<string, string>>;
        readonly connection: { readonly remoteAddress: string };
      },
      response: { end(body?: Uint8Array): void },
      options: { readonly action: 'announce' },
    ): void;
    onUdpRequest(
      message: Buffer,
      from: { readonly address: string; readonly port: number; readonly family: string },
    ): void;
    close(): void;
  }
}
