/** Our TCP sockets as libp2p's transport: the same ones that carry plain BitTorrent. */
import {
  type ComponentLogger,
  type CreateListenerOptions,
  type Listener,
  type ListenerEvents,
  type Transport,
  TypedEventEmitter,
  transportSymbol,
} from '@libp2p/interface';
import { getNetConfig, ipPortToMultiaddr } from '@libp2p/utils';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { dialTcp, listenTcp, type TcpListener } from '../tcp.ts';
import { Negotiation } from './negotiation.ts';

/** The multiaddr (https://multiformats.io/multiaddr) of a TCP port; a name that is no address is left to DNS. */
export function tcpMultiaddr(host: string, port: number): Multiaddr {
  try {
    return ipPortToMultiaddr(host, port);
  } catch {
    return multiaddr(`/dns/${host}/tcp/${port}`);
  }
}

function endpoint(address: Multiaddr): { host: string; port: number } {
  const { host, port } = getNetConfig(address);
  if (port === undefined) throw new Error(`${address} has no TCP port`);
  return { host, port };
}

const isTcp = (address: Multiaddr): boolean => {
  const names = address.getComponents().map(({ name }) => name);
  const [host = '', transport, ...more] = names;
  return (
    /^(ip4|ip6|dns|dns4|dns6)$/.test(host) && transport === 'tcp' && more.every((name) => name === 'p2p')
  );
};

class SocketListener extends TypedEventEmitter<ListenerEvents> implements Listener {
  readonly #accept: (connection: Connection) => void;
  #listener: TcpListener | undefined;

  constructor(accept: (connection: Connection) => void) {
    super();
    this.#accept = accept;
  }

  async listen(address: Multiaddr): Promise<void> {
    this.#listener = await listenTcp(endpoint(address), this.#accept);
    this.safeDispatchEvent('listening');
  }

  getAddrs(): Multiaddr[] {
    const address = this.#listener?.address;
    return address === undefined ? [] : [tcpMultiaddr(address.host, address.port)];
  }

  updateAnnounceAddrs(): void {}

  async close(): Promise<void> {
    await this.#listener?.close();
    this.safeDispatchEvent('close');
  }
}

/** The transport factory that libp2p asks for. */
export function createSocketTransport(options: {
  readonly logger: ComponentLogger;
  readonly dialDeadlineMs: number;
}): Transport {
  const log = options.logger.forComponent('shoal:libp2p');
  let count = 0;

  function negotiate(connection: Connection, remoteAddr: Multiaddr): Negotiation {
    count++;
    return new Negotiation({ connection, log, id: `${count}`, remoteAddr });
  }

  return {
    [Symbol.toStringTag]: 'shoal-tcp',
    [transportSymbol]: true,
    async dial(address, { signal, upgrader }) {
      const connection = await dialTcp(endpoint(address), { deadlineMs: options.dialDeadlineMs, signal });
      try {
        return await upgrader.upgradeOutbound(negotiate(connection, address), { signal });
      } catch (error) {
        connection.close(error instanceof Error ? error.message : String(error));
        throw error;
      }
    },
    createListener({ upgrader }: CreateListenerOptions) {
      const stopping = new AbortController();
      const listener = new SocketListener((connection) => {
        const negotiation = negotiate(connection, tcpMultiaddr(connection.host, connection.port));
        upgrader.upgradeInbound(negotiation, { signal: stopping.signal }).catch((error: unknown) => {
          connection.close(error instanceof Error ? error.message : String(error));
        });
      });
      listener.addEventListener('close', () => stopping.abort());
      return listener;
    },
    listenFilter: (addresses) => addresses.filter(isTcp),
    dialFilter: (addresses) => addresses.filter(isTcp),
  };
}
