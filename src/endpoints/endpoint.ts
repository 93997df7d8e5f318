/** One server: how it is written, named and asked. */
import { lookup as systemLookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { HttpClient } from '#http';

export interface Endpoint {
  /** What its requests begin with, without a slash at the end; Host header and certificate are of the name in it. */
  readonly url: string;
  /** Dialled in place of whatever the name resolves to; undefined: the name is. */
  readonly address: string | undefined;
  /** For logs, pages and keys: the URL, with the address where the name has several. */
  readonly name: string;
}

/** A URL of the list, read. */
export interface Source {
  readonly url: string;
  /** Whose addresses are each a server; undefined: the URL is one server. */
  readonly host: string | undefined;
}

/** All addresses of a host, the family that this machine prefers first. Rejects when there are none. */
export type Lookup = (
  host: string,
) => Promise<readonly { readonly address: string; readonly family: number }[]>;

/**
 * The system's resolver, so /etc/hosts, search domains and nsswitch.conf count as for every other program of the node. It tells
 * no TTL, unlike a question to the name servers themselves.
 */
export const lookUp: Lookup = (host) => systemLookup(host, { all: true, order: 'verbatim' });

/** Of one name; each costs every agent a conversation. */
export const MAX_ADDRESSES = 16;
const DNS = /^dns\+(?=https?:\/\/)/i;

export function readSource(text: string): Source {
  const url = plainUrl(text);
  return { url, host: DNS.test(text) ? new URL(url).hostname : undefined };
}

/** Whether a URL may stand in the list, as far as `dns+` goes: it needs a name. */
export function isEndpointUrl(text: string): boolean {
  const url = URL.parse(plainUrl(text));
  return url !== null && (!DNS.test(text) || isIP(url.hostname.replace(/^\[|\]$/g, '')) === 0);
}

/** The URL that is asked: without `dns+` and without a slash at its end. */
export function plainUrl(text: string): string {
  return text.replace(DNS, '').replace(/\/+$/, '');
}

export function endpointAt(url: string, address?: string): Endpoint {
  return { url, address, name: address === undefined ? url : `${url} (${address})` };
}

/**
 * The addresses of an answer that count, at most MAX_ADDRESSES, in an order that is the same everywhere. One family, the first
 * answer's: an origin that has an address of each would otherwise be two.
 */
export function addressesOf(answer: Awaited<ReturnType<Lookup>>): readonly string[] {
  const family = answer[0]?.family;
  const addresses = answer.filter((each) => each.family === family).map(({ address }) => address);
  return [...new Set(addresses)].sort().slice(0, MAX_ADDRESSES);
}

/** The servers of one URL now, for a program that looks once. Rejects when its name cannot be resolved. */
export async function resolveEndpoints(text: string, lookup: Lookup = lookUp): Promise<readonly Endpoint[]> {
  const { url, host } = readSource(text);
  if (host === undefined) return [endpointAt(url)];
  return addressesOf(await lookup(host)).map((address) => endpointAt(url, address));
}

/** A client whose requests go to this server, whatever the name in their URL resolves to. Not to be closed. */
export function endpointClient(http: HttpClient, { address }: Pick<Endpoint, 'address'>): HttpClient {
  if (address === undefined) return http;
  return {
    request: (url, init) => http.request(url, { ...init, address }),
    stream: (url, init) => http.stream(url, { ...init, address }),
    prompt: (url, init) => http.prompt(url, { ...init, address }),
    read: http.read,
    close: async () => undefined,
  };
}
