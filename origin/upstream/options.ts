/** The option of upstreams, and how its values become configuration. */
import { z } from 'zod';
import { ConfigError, duration, type Kind, record, repeated, url as urlKind, type Values } from '#config';
import { isRegistryHost } from '#oci';
import type { UpstreamConfig } from './config.ts';

const FIELDS = [
  'name',
  'url',
  'auth-file',
  'username',
  'password-file',
  'ca',
  'stale',
  'timeout',
  'public',
] as const;
const DEFAULT_STALE_MS = 24 * 3_600_000;
const DEFAULT_TIMEOUT_MS = 10_000;
/** Agents give up on an answer after 20 s, and containerd on its headers after 30. */
const MOST_TIMEOUT_MS = 15_000;

type Parts = Readonly<Partial<Record<(typeof FIELDS)[number], readonly string[]>>>;

const upstreamRecord = record<(typeof FIELDS)[number], UpstreamConfig>({
  placeholder: 'NAME=URL',
  fields: FIELDS,
  make(parts) {
    const several = FIELDS.find((field) => (parts[field]?.length ?? 1) !== 1);
    if (several !== undefined) return `${several}: expected one value`;
    const name = parts.name?.[0];
    const url = urlOf(parts.url?.[0]);
    if (name === undefined || !isRegistryHost(name) || name.length > 200) {
      return 'expected NAME=URL, NAME being the registry of image names, for example docker.io=https://registry-1.docker.io';
    }
    if (url === undefined) {
      return `url of ${name}: expected http:// or https:// with a host and no path, for example https://registry-1.docker.io`;
    }
    const staleMs = durationOf(parts.stale?.[0], DEFAULT_STALE_MS);
    const timeoutMs = durationOf(parts.timeout?.[0], DEFAULT_TIMEOUT_MS);
    if (staleMs === undefined) return 'stale: expected a duration such as 24h';
    if (timeoutMs === undefined || timeoutMs > MOST_TIMEOUT_MS)
      return 'timeout: expected a duration of at most 15s';
    const isPublic = parts.public?.[0] ?? 'false';
    if (!/^(?:true|false)$/.test(isPublic)) return 'public: expected true or false';
    const caFile = parts.ca?.[0];
    if (caFile !== undefined && url.startsWith('http:')) return 'ca: an http URL needs none';
    const credentials = credentialsOf(parts);
    if (typeof credentials === 'string') return credentials;
    return {
      ...{ name: name.toLowerCase(), url, staleMs, timeoutMs, isPublic: isPublic === 'true' },
      ...(credentials && { credentials }),
      ...(caFile !== undefined && { caFile }),
    };
  },
});

/** `docker.io=https://… timeout=5s` means `name=docker.io url=https://… timeout=5s`. */
const upstream: Kind<UpstreamConfig> = {
  ...upstreamRecord,
  schema: z.string().transform(withFieldNames).pipe(upstreamRecord.schema),
};

function withFieldNames(text: string): string {
  const trimmed = text.trim();
  const equals = trimmed.indexOf('=');
  if (equals < 0) return `url=${trimmed}`;
  const named = FIELDS.some((field) => field === trimmed.slice(0, equals));
  return named ? trimmed : `name=${trimmed.slice(0, equals)} url=${trimmed.slice(equals + 1)}`;
}

export const upstreamOptions = {
  upstream: repeated(
    upstream,
    'a registry whose images are fetched, kept and shared when agents ask for them; in YAML each with name, url, auth-file or ' +
      'username and password-file, ca, stale (24h), timeout (10s), public (false)',
  ),
} as const;

/** @throws ConfigError for a registry that is named twice */
export function upstreamConfigs(values: Values<typeof upstreamOptions>): readonly UpstreamConfig[] {
  const names = values.upstream.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new ConfigError([`upstream: ${twice} is given twice`]);
  return values.upstream;
}

function urlOf(text: string | undefined): string | undefined {
  const read = text === undefined ? undefined : urlKind.schema.safeParse(text).data;
  const parsed = read === undefined ? null : URL.parse(read);
  return parsed && parsed.pathname === '/' && parsed.username === '' && parsed.password === ''
    ? parsed.origin
    : undefined;
}

function durationOf(text: string | undefined, fallback: number): number | undefined {
  return text === undefined ? fallback : duration.schema.safeParse(text).data;
}

function credentialsOf(parts: Parts): UpstreamConfig['credentials'] | string {
  const [authFile] = parts['auth-file'] ?? [];
  const [username] = parts.username ?? [];
  const [passwordFile] = parts['password-file'] ?? [];
  if (authFile !== undefined && (username !== undefined || passwordFile !== undefined)) {
    return 'give either auth-file, or username and password-file';
  }
  if (authFile !== undefined) return { authFile };
  if (username === undefined && passwordFile === undefined) return undefined;
  if (username === undefined || passwordFile === undefined) {
    return 'a log-in needs both username and password-file';
  }
  return { username, passwordFile };
}
