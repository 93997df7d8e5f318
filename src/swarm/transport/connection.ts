import type { Transport } from '../port.ts';

/** What happens on a connection. Handlers must not throw. */
export interface ConnectionEvents {
  /** Bytes came. `chunk` is the transport's own buffer, valid during the call only. */
  data(chunk: Buffer): void;
  /** The other side writes no more, and may still read. Who has no handler for it, as BitTorrent, sees the connection closed. */
  ended?(): void;
  /** The connection is over, whoever ended it. Called once; nothing comes after it. */
  closed(reason: string): void;
}

/** One established byte stream with a member. */
export interface Connection {
  readonly transport: Transport;
  readonly host: string;
  readonly port: number;
  /** Who the member is by its key: its libp2p peer id. Plain TCP does not tell. */
  readonly memberId?: string;
  /** They dialled us. */
  readonly incoming: boolean;
  /** Bytes that were written and that the system has not taken yet. */
  readonly unsent: number;
  /** Names who hears of this connection from now on. Before the first call nothing is read. */
  attach(events: ConnectionEvents): void;
  /** Called once when the connection is over, besides the attached events. */
  onClosed(listener: () => void): void;
  /** Stops reading, so that the sender feels it. */
  pause(): void;
  resume(): void;
  /** Sends the parts in order as one write. They must stay unchanged until `taken` runs, which also runs when the connection fails. */
  write(parts: readonly Uint8Array[], taken?: () => void): void;
  /** Ends the connection now; `closed` is called with this reason. */
  close(reason: string): void;
}

/**
 * What bans and logs call the member at the other end: its key where it has one, for one address
 * may be that of many members, and one member may come from many; else its address.
 */
export function nameOf(connection: Pick<Connection, 'host' | 'port' | 'memberId'>): {
  readonly host: string;
  readonly label: string;
} {
  const { host, port, memberId } = connection;
  return { host: memberId ?? host, label: memberId ?? `${host}:${port}` };
}
