/** IP addresses and hosts as peers and inventories name them. */
import { isIP, isIPv4, isIPv6 } from 'node:net';

/** The address as we compare it: IPv4 inside IPv6 becomes IPv4, an interface name is dropped. */
export function plainIp(text: string): string {
  const bare = text.split('%', 1)[0] ?? '';
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1];
  return (mapped ?? bare).toLowerCase();
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

/**
 * Whether a member may be reached under this name: an IP address, or a DNS name whose last label is
 * not a number, so that no text is a broken IP address to one reader and a name to another.
 */
export function isHost(text: string): boolean {
  if (text.length === 0 || text.length > 253) return false;
  if (isIP(text) !== 0) return !text.includes('%');
  const labels = text.split('.');
  const last = labels[labels.length - 1] ?? '';
  return (
    !/^\d+$/.test(last) && labels.every((label) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(label))
  );
}

/** Address and port as BEP 23 and BEP 7 pack them, 6 or 18 bytes; undefined for a DNS name. */
export function packAddress(ip: string, port: number): Buffer | undefined {
  if (isIPv4(ip)) return Buffer.from([...ip.split('.').map(Number), port >> 8, port & 0xff]);
  if (!isIPv6(ip) || ip.includes('%')) return undefined;
  const packed = Buffer.alloc(18);
  const [head = '', tail] = withoutDottedPart(ip).split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  before.forEach((group, index) => {
    packed.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  });
  after.forEach((group, index) => {
    packed.writeUInt16BE(Number.parseInt(group, 16), 16 - (after.length - index) * 2);
  });
  packed.writeUInt16BE(port, 16);
  return packed;
}

/** `::1.2.3.4` written as `::102:304`. */
function withoutDottedPart(ip: string): string {
  return ip.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a: string, b: string, c: string, d: string) => {
    const group = (high: string, low: string): string => (Number(high) * 256 + Number(low)).toString(16);
    return `${group(a, b)}:${group(c, d)}`;
  });
}
