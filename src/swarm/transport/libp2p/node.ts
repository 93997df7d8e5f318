/**
 * A member of the libp2p network of a cluster: TCP, Noise, yamux, and one protocol, BitTorrent's. What finds
 * members without a tracker (`src/swarm/overlay/`) adds its own protocols. Between two members there is one connection, whoever dialled it; each BitTorrent connection is
 * a stream of it.
 */
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys';
import type { Connection as Libp2pConnection, Stream } from '@libp2p/interface';
import type { KadDHTComponents } from '@libp2p/kad-dht';
import { peerIdFromString } from '@libp2p/peer-id';
import { createLibp2p } from 'libp2p';
import type { Identity, SwarmMembership } from '../../port.ts';
import type { Connection } from '../connection.ts';
import { createMemberships, MEMBER_PROTOCOL } from './memberships.ts';
import { createMuxerFactory } from './muxer.ts';
import { Negotiation } from './negotiation.ts';
import { createNoise } from './noise.ts';
import { createSocketTransport, tcpMultiaddr } from './sockets.ts';

/** BitTorrent's handshake and messages, as over TCP. */
export const PROTOCOL = '/shoal/bt/1.0.0';

const UPGRADE_DEADLINE_MS = 10_000;
const IDLE_MS = 30_000;
const DEFAULT_MAX_CONNECTIONS = 500;

/** Blobs that one member fetches from another at the same time. */
const MAX_STREAMS_PER_CONNECTION = 128;

/** Handshakes in progress, and new connections a second from one host: a bound on what strangers cost. */
const MAX_PENDING = 64;
const MAX_PER_SECOND = 64;

export interface Libp2pOptions {
  readonly identity: Identity;
  /** Undefined: dial only. Port 0 takes a free port. */
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  /** Whether a member with this peer id takes part. Default: everybody. */
  readonly admit?: (peerId: string) => boolean;
  /** Admission to a cluster; without it everybody who `admit` lets through takes part. */
  readonly membership?: SwarmMembership | undefined;
  /** A stream that another member opened; must be attached to or closed. */
  readonly accept: (connection: Connection) => void;
  /** Connections (members, not streams). Default 500. */
  readonly maxConnections?: number;
  /** A connection without streams is closed after this long. Default 30 s. */
  readonly idleMs?: number;
}

/** Where a member is reached by libp2p. */
export interface NodeAddress {
  readonly host: string;
  readonly port: number;
  readonly peerId: string;
}

interface Patience {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

export interface Libp2pNode {
  readonly peerId: string;
  readonly address: { readonly host: string; readonly port: number } | undefined;
  /** Members we are connected with now. */
  connections(): readonly { readonly peerId: string; readonly streams: number }[];
  /**
   * Opens a stream to a member, over the connection there is or a new one. Rejects when it does
   * not answer by the deadline, is not who it should be or not admitted, refuses, or `signal` aborts.
   */
  dial(address: NodeAddress, patience: Patience): Promise<Connection>;
  /** The same for another protocol, `addresses` being of one member; the first that answers is taken. */
  open(
    peerId: string,
    addresses: readonly NodeAddress[],
    protocol: string,
    patience: Patience,
  ): Promise<Stream>;
  /** Who answers there. Rejects as `dial` does. */
  find(host: string, port: number, patience: Patience): Promise<string>;
  /** Takes streams of another protocol that members open. */
  handle(protocol: string, accept: (connection: Connection) => void, maxStreams: number): Promise<void>;
  /** libp2p's own parts, for services of it that are started later. */
  readonly parts: LibraryParts;
  close(): Promise<void>;
}

/** What libp2p has made and its services build on. */
export interface LibraryParts extends Pick<KadDHTComponents, 'peerId' | 'privateKey' | 'events' | 'logger'> {
  readonly registrar: Pick<KadDHTComponents['registrar'], 'handle' | 'unhandle'>;
}

/** Starts a node; resolves when it listens. Rejects when the address cannot be bound. */
export async function createLibp2pNode(options: Libp2pOptions): Promise<Libp2pNode> {
  const { listen, identity } = options;
  const admit = options.admit ?? (() => true);
  const maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
  const limits = { maxStreams: MAX_STREAMS_PER_CONNECTION, idleMs: options.idleMs ?? IDLE_MS };
  const made: { parts?: LibraryParts } = {};
  const node = await createLibp2p({
    privateKey: privateKeyFromProtobuf(identity.privateKey),
    addresses: { listen: listen === undefined ? [] : [tcpMultiaddr(listen.host, listen.port).toString()] },
    transports: [({ logger }) => createSocketTransport({ logger, dialDeadlineMs: UPGRADE_DEADLINE_MS })],
    connectionEncrypters: [createNoise],
    streamMuxers: [() => createMuxerFactory(limits)],
    connectionGater: {
      denyDialPeer: (peerId) => !admit(peerId.toString()),
      denyInboundEncryptedConnection: (peerId) => !admit(peerId.toString()),
      denyOutboundEncryptedConnection: (peerId) => !admit(peerId.toString()),
    },
    connectionManager: {
      maxConnections,
      inboundUpgradeTimeout: UPGRADE_DEADLINE_MS,
      maxIncomingPendingConnections: MAX_PENDING,
      inboundConnectionThreshold: MAX_PER_SECOND,
      reconnectRetries: 0,
    },
    connectionMonitor: { enabled: false },
    services: {
      parts(components: LibraryParts) {
        made.parts = components;
        return {};
      },
    },
  });
  const { parts } = made;
  if (parts === undefined) throw new Error('libp2p made no services');
  const memberships =
    options.membership &&
    createMemberships({
      membership: options.membership,
      open: (connection, signal) => connection.newStream(MEMBER_PROTOCOL, { signal }),
      release: released,
      connections: () => node.getConnections(),
    });
  if (memberships !== undefined) {
    node.addEventListener('connection:open', ({ detail }) => memberships.met(detail));
    await node.handle(MEMBER_PROTOCOL, (stream, connection) =>
      memberships.serve(released(stream), connection),
    );
  }
  await node.handle(
    PROTOCOL,
    async (stream, connection) => {
      const opened = released(stream);
      try {
        await memberships?.admitted(connection);
        options.accept(opened);
      } catch (error) {
        opened.close(error instanceof Error ? error.message : String(error));
      }
    },
    { maxInboundStreams: MAX_STREAMS_PER_CONNECTION, maxOutboundStreams: MAX_STREAMS_PER_CONNECTION },
  );

  /** Whatever is served besides: to members only. */
  const registrar: LibraryParts['registrar'] = {
    unhandle: (protocols) => parts.registrar.unhandle(protocols),
    handle: (protocols, handler, limits) =>
      parts.registrar.handle(
        protocols,
        async (stream, connection) => {
          try {
            await memberships?.admitted(connection);
          } catch (error) {
            stream.abort(error instanceof Error ? error : new Error(String(error)));
            return;
          }
          await handler(stream, connection);
        },
        limits,
      ),
  };

  async function open(
    peerId: string,
    addresses: readonly NodeAddress[],
    protocol: string,
    { deadlineMs, signal }: Patience,
  ): Promise<Stream> {
    const until = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
    if (!admit(peerId)) throw new Error(`${peerId} is not admitted`);
    const existing = pick(node.getConnections(peerIdFromString(peerId)), identity.peerId, peerId);
    if (existing !== undefined) {
      try {
        await abortable(memberships?.admitted(existing), until);
        return await existing.newStream(protocol, { signal: until });
      } catch (error) {
        // It may have ended as idle just now; while it is open, the refusal is meant.
        if (existing.status === 'open') throw error;
      }
    }
    const dialled = addresses.map(({ host, port }) => tcpMultiaddr(host, port).encapsulate(`/p2p/${peerId}`));
    const connection = await node.dial(dialled, { signal: until });
    await abortable(memberships?.admitted(connection), until);
    return connection.newStream(protocol, { signal: until });
  }

  const [bound] = node.getMultiaddrs();
  const port = bound?.getComponents().find(({ name }) => name === 'tcp')?.value;

  return {
    peerId: identity.peerId,
    address:
      listen === undefined || port === undefined ? undefined : { host: listen.host, port: Number(port) },
    connections: () =>
      node.getConnections().map((connection) => ({
        peerId: connection.remotePeer.toString(),
        streams: connection.streams.length,
      })),
    dial: async (address, patience) => released(await open(address.peerId, [address], PROTOCOL, patience)),
    open,
    async find(host, port, { deadlineMs, signal }) {
      const until = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
      const connection = await node.dial(tcpMultiaddr(host, port), { signal: until });
      await abortable(memberships?.admitted(connection), until);
      return connection.remotePeer.toString();
    },
    async handle(protocol, accept, maxStreams) {
      const limits = { maxInboundStreams: maxStreams, maxOutboundStreams: maxStreams };
      await registrar.handle(protocol, async (stream) => accept(released(stream)), limits);
    },
    // One by one: libp2p's own object answers only when it is asked for a part.
    parts: {
      peerId: parts.peerId,
      privateKey: parts.privateKey,
      events: parts.events,
      logger: parts.logger,
      registrar,
    },
    close: async () => {
      await node.stop();
    },
  };
}

/** Waits for it, but not past the signal. */
async function abortable(promise: Promise<void> | undefined, signal: AbortSignal): Promise<void> {
  if (promise === undefined) return;
  signal.throwIfAborted();
  const gone = Promise.withResolvers<never>();
  const onAbort = (): void => gone.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  await Promise.race([promise, gone.promise]).finally(() => signal.removeEventListener('abort', onAbort));
}

/** Of two connections, dialled by both sides at once, both sides use that of the smaller peer id. */
function pick(
  connections: readonly Libp2pConnection[],
  ours: string,
  theirs: string,
): Libp2pConnection | undefined {
  const open = connections.filter(({ status }) => status === 'open');
  const direction = ours < theirs ? 'outbound' : 'inbound';
  return open.find((connection) => connection.direction === direction) ?? open[0];
}

/** The stream without libp2p on it. */
export function released(stream: Stream): Connection {
  if (!(stream instanceof Negotiation)) throw new Error('not a stream of ours');
  const { connection, rest } = stream.release();
  return rest.length === 0 ? connection : withRest(connection, rest);
}

/** Bytes that came behind the negotiation are heard first. */
function withRest(connection: Connection, rest: readonly Uint8Array[]): Connection {
  let waiting = rest;
  return {
    transport: connection.transport,
    host: connection.host,
    port: connection.port,
    ...(connection.memberId !== undefined && { memberId: connection.memberId }),
    incoming: connection.incoming,
    get unsent() {
      return connection.unsent;
    },
    attach(events) {
      const first = waiting;
      waiting = [];
      for (const chunk of first) events.data(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
      connection.attach(events);
    },
    onClosed: (listener) => connection.onClosed(listener),
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    write: (parts, taken) => connection.write(parts, taken),
    close: (reason) => connection.close(reason),
  };
}
