export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Parses HOST:PORT or [IPV6]:PORT. Throws a RangeError that says what is wrong. */
export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65535) {
    throw new RangeError(`'${text}' is not HOST:PORT (for example 127.0.0.1:5000 or [::1]:5000)`);
  }
  return { host, port };
}

/** The text form of an address, with brackets around an IPv6 host. */
export function formatHostPort(address: HostPort): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
