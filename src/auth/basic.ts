/** Basic authentication (RFC 7617), UTF-8 as every registry client has it. */

/** Longer than any user name and password of sense; what is longer is not looked at. */
const MAX_HEADER = 4_096;

/** The user name and password of an Authorization header, or undefined when it is no Basic of sense. */
export function parseBasic(
  header: string,
): { readonly username: string; readonly password: string } | undefined {
  if (header.length > MAX_HEADER) return undefined;
  const encoded = /^basic +([A-Za-z0-9+/_-]+={0,2}) *$/i.exec(header)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0 || text.includes('\0')) return undefined;
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

export function formatBasic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
