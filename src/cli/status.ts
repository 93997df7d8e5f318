import { optional, path, repeated, url } from '#config';
import type { HttpClient } from '#http';
import { defineCommand } from './command.ts';
import { explain } from './errors.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { type Login, loginOf, loginOptions, loginSwitches } from './login.ts';
import { formatTable } from './text.ts';

const DEFAULT_URLS = ['http://127.0.0.1:5000', 'http://127.0.0.1:5001'];
const MAX_BYTES = 1024 * 1024;
const DEADLINE_MS = 10_000;

export const status = defineCommand({
  name: 'status',
  summary: 'Shows what origins and agents hold and do, from their /api/v1/status',
  operands: '',
  operandCount: [0, 0],
  options: {
    url: repeated(url, `URL of an origin or agent; without any: ${DEFAULT_URLS.join(' and ')}`),
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
    ...loginOptions,
  },
  switches: { json: 'one JSON object a program, as it answered', ...loginSwitches },
  configFile: 'none',
  run: async ({ values, has }) => {
    const urls = values.url.length > 0 ? values.url : DEFAULT_URLS;
    const login = await loginOf(values, has, urls);
    const client = await login.client({ caFile: values['ca.file'] });
    let failed = 0;
    try {
      for (const base of urls) {
        const answer = await statusOf(client, login, base);
        if (answer.problem !== undefined) failed += 1;
        process.stdout.write(
          has('json')
            ? `${JSON.stringify({ url: base, ...answer })}\n`
            : `${base}\n${formatTable(['what', 'value'], rowsOf(answer.status ?? { problem: answer.problem }))}\n`,
        );
      }
      return failed === 0 ? EXIT_DONE : EXIT_FAILED;
    } finally {
      await client.close();
    }
  },
});

interface Answer {
  readonly status?: unknown;
  readonly problem?: string;
}

async function statusOf(client: HttpClient, login: Login, base: string): Promise<Answer> {
  try {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const response = await client.request(`${base}/api/v1/status`, { signal });
    const body = (await client.read(response, MAX_BYTES)).toString('utf8');
    if (response.status !== 200) {
      const advice = login.advice(response.status, base) || 'is this a Shoal program?';
      return { problem: `answered ${response.status}: ${advice}` };
    }
    return { status: JSON.parse(body) };
  } catch (error) {
    return { problem: explain(error).join('; ') };
  }
}

/** Any JSON as rows of a path and a value, lists of objects by number. */
export function rowsOf(value: unknown, prefix = ''): (readonly [string, string])[] {
  if (typeof value !== 'object' || value === null) return [[prefix, String(value)]];
  const entries = Object.entries(value);
  if (Array.isArray(value) && value.every((item) => typeof item !== 'object')) {
    return [[prefix, value.length === 0 ? '-' : value.join(', ')]];
  }
  return entries.flatMap(([key, inner]) => rowsOf(inner, prefix === '' ? key : `${prefix}.${key}`));
}
