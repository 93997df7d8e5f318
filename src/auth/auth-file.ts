/**
 * The files in which `docker login`, `podman login` and `skopeo login` keep credentials: one JSON
 * object with `auths` by registry host (containers-auth.json(5)). Only what stands in the file is
 * used; credential helpers, which are programs of their own, are not run.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';

/** A user name and password, or a token that stands for them (docker's identity token). */
export type Credentials =
  | { readonly username: string; readonly password: string }
  | { readonly identityToken: string };

/** The credentials for a host, with its port when that is not the scheme's own. */
export type CredentialsFor = (host: string) => Credentials | undefined;

/** A file that was named and cannot be used. */
export class AuthFileError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'AuthFileError';
  }
}

const MAX_BYTES = 1024 * 1024;
const entry = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
});
const content = z.object({ auths: z.record(z.string(), entry).default({}) });

/** Where the clients of this user keep them, the first that knows a host being right. */
export function userAuthFiles(environment: Readonly<Record<string, string | undefined>>): string[] {
  const { REGISTRY_AUTH_FILE: named, XDG_RUNTIME_DIR: runtime, DOCKER_CONFIG: docker } = environment;
  const home = environment['HOME'] ?? os.homedir();
  return [
    ...(named ? [named] : []),
    path.join(
      runtime || `/run/containers/${process.getuid?.() ?? 0}`,
      ...(runtime ? ['containers'] : []),
      'auth.json',
    ),
    path.join(environment['XDG_CONFIG_HOME'] || path.join(home, '.config'), 'containers', 'auth.json'),
    path.join(docker || path.join(home, '.docker'), 'config.json'),
  ];
}

/**
 * Looks hosts up in the files, which are read anew for each question, so that a renewed secret counts.
 * `required` files must exist and be right; of others a missing or broken one is passed over.
 * @throws AuthFileError from the lookup, for a required file
 */
export function withAuthFiles(files: readonly string[], required: boolean): CredentialsFor {
  return (host) => {
    for (const file of files) {
      const found = lookUp(file, host, required);
      if (found) return found;
    }
    return undefined;
  };
}

function lookUp(file: string, host: string, required: boolean): Credentials | undefined {
  let auths: Record<string, z.infer<typeof entry>>;
  try {
    const text = readFileSync(file, 'utf8');
    if (text.length > MAX_BYTES) throw new Error('it is too large');
    auths = content.parse(JSON.parse(text)).auths;
  } catch (error) {
    if (!required) return undefined;
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const { message } = error as Error;
    // A parser's message may quote what it read.
    const reason = missing
      ? 'there is no such file'
      : error instanceof z.ZodError || error instanceof SyntaxError
        ? 'it is not the JSON of docker or podman login'
        : message;
    throw new AuthFileError(`cannot read the credentials in ${file}: ${reason}`);
  }
  const ofHost = Object.entries(auths).filter(([name]) => hostOf(name) === host.toLowerCase());
  // podman also keeps log-ins for a part of a host (quay.io/team): one for the whole host goes first.
  const [, value] = ofHost.find(([name]) => WHOLE_HOST.test(name)) ?? ofHost[0] ?? [];
  return value && toCredentials(value);
}

/** A host, or one of docker's URLs such as https://index.docker.io/v1/. */
const WHOLE_HOST = /^(?:https?:\/\/)?[^/]+(?:\/(?:v[12]\/?)?)?$/;

/** docker writes some names as URLs. */
function hostOf(name: string): string {
  return (name.replace(/^https?:\/\//, '').split('/', 1)[0] ?? '').toLowerCase();
}

function toCredentials(value: z.infer<typeof entry>): Credentials | undefined {
  if (value.identitytoken) return { identityToken: value.identitytoken };
  if (value.username && value.password) return { username: value.username, password: value.password };
  const text = Buffer.from(value.auth ?? '', 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon <= 0) return undefined;
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') };
}
