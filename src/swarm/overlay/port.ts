/**
 * Members that find each other without a tracker: by Kad-DHT provider records, by mDNS on the local network, and by
 * asking the members that are known. What they ask each other are short questions with bounded answers.
 */
import type { PeerAddress } from '../port.ts';

export interface OverlayOptions {
  /** Keep and find provider records (Kad-DHT). */
  readonly dht: boolean;
  /** Announce and hear members on the local network (mDNS), on this UDP port. */
  readonly mdns: { readonly port: number } | undefined;
  /** Host that members dial; by default the addresses that we listen on. */
  readonly advertise?: string | undefined;
  /** What a member asks; undefined: we do not have it, or it does not concern the member. Must not throw. */
  readonly answer: (question: string, peerId: string) => Promise<Uint8Array | undefined>;
}

export interface Overlay {
  /** Members that others named; some of them are greeted, until enough are known. */
  introduce(members: readonly PeerAddress[]): void;
  /** Finds out who answers at each address of a host (a name may have many), and introduces them. Never rejects. */
  introduceHost(host: string, port: number): Promise<void>;
  /** Members that answered or were heard of, the latest first. */
  members(): readonly PeerAddress[];
  /** Whether anybody can be asked for providers now. */
  readonly searchable: boolean;
  /** Tells the members close to `key` that we provide it. Resolves with the number of those that were told; never rejects. */
  provide(key: string, signal: AbortSignal): Promise<number>;
  /** No longer says that we provide `key`, when asked ourselves. What others were told runs out. */
  withdraw(key: string): Promise<void>;
  /** Members that are said to provide `key`. Ends when there are no more, or `signal` aborts; never rejects. */
  providers(key: string, signal: AbortSignal): AsyncGenerator<PeerAddress, void, undefined>;
  /** Asks on the local network who is there, unless it was done a moment ago. */
  listen(): void;
  /**
   * One question to one member. Undefined: it has no answer. Rejects when it cannot be reached, breaks the protocol, answers more than
   * `maxBytes`, or `signal` aborts.
   */
  ask(
    member: PeerAddress,
    question: string,
    options: { readonly maxBytes: number; readonly signal: AbortSignal },
  ): Promise<Buffer | undefined>;
  /** The member lied: it is neither dialled nor let in for a while, and longer each time. */
  ban(peerId: string): void;
  status(): OverlayStatus;
}

export interface OverlayStatus {
  /** Members that are known. */
  readonly members: number;
  /** Those that we spoke with since the start. */
  readonly met: number;
  /** Members in the table of the DHT. */
  readonly table: number;
  /** Provider records that we keep for others and ourselves. */
  readonly records: number;
}
