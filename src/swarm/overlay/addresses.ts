/** Addresses of members as libp2p writes them, and ours. */
import os from 'node:os';
import type { Multiaddr } from '@multiformats/multiaddr';
import { parseMultiaddr } from '#multiaddr';
import { type NodeAddress, tcpMultiaddr } from '../transport/libp2p/index.ts';

const MAX_TEXT = 512;

/** A multiaddr of the one form that members have, with or without its peer id at the end; undefined for any other. */
export function nodeAddress(text: string, peerId: string): NodeAddress | undefined {
  if (text.length > MAX_TEXT) return undefined;
  const { host, port } = parseMultiaddr(text.includes('/p2p/') ? text : `${text}/p2p/${peerId}`) ?? {};
  return host === undefined || port === undefined ? undefined : { host, port, peerId };
}

export function nodeAddresses(addresses: readonly Multiaddr[], peerId: string): NodeAddress[] {
  return addresses.flatMap((address) => nodeAddress(address.toString(), peerId) ?? []);
}

export function toMultiaddr({ host, port, peerId }: NodeAddress): Multiaddr {
  return tcpMultiaddr(host, port).encapsulate(`/p2p/${peerId}`);
}

/**
 * Where members reach us: the host that is advertised, else the one that we listen on, else (of a listener on every
 * interface) the addresses of the machine, the loopback only when there is nothing else.
 */
export function ownAddresses(options: {
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  readonly advertise: string | undefined;
  readonly peerId: string;
}): NodeAddress[] {
  const { listen, advertise, peerId } = options;
  if (listen === undefined) return [];
  const { port } = listen;
  const at = (host: string): NodeAddress => ({ host, port, peerId });
  if (advertise !== undefined) return [at(advertise)];
  if (listen.host !== '0.0.0.0' && listen.host !== '::') return [at(listen.host)];
  const all = Object.values(os.networkInterfaces())
    .flatMap((interfaces) => interfaces ?? [])
    .filter(({ family, address }) =>
      family === 'IPv4' ? true : listen.host === '::' && !address.startsWith('fe80'),
    );
  const outside = all.filter(({ internal }) => !internal);
  return (outside.length > 0 ? outside : all).map(({ address }) => at(address));
}
