/** A server of a name that has several addresses: dialled by its address, asked and checked by its name. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { withCredentials } from '#auth';
import { endpointClient } from '#endpoints';
import { createHttpClient, type HttpClient } from '#http';
import { needs } from '../support/debian.ts';

const run = promisify(execFile);
const ADDRESSES = ['127.0.0.2', '127.0.0.3'] as const;

/** The same port on two addresses. */
async function pair(
  t: Test,
  make: (listener: RequestListener) => Server,
  answer: RequestListener,
): Promise<number> {
  let port = 0;
  for (const address of ADDRESSES) {
    const server = make(answer);
    server.listen(port, address);
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
    t.teardown(async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    });
  }
  return port;
}

const say: RequestListener = ({ headers, socket }, response) => {
  const text = `${socket.localAddress} ${headers.host}`;
  response.writeHead(200, { 'content-length': text.length }).end(text);
};

async function askAll(client: HttpClient, url: string): Promise<readonly string[]> {
  const answers = [
    await client.request(url),
    await client.stream(url),
    await client.prompt(url),
    await client.prompt(url),
  ];
  return Promise.all(answers.map(async (answer) => (await client.read(answer, 1_000)).toString()));
}

t.test('each address by every way, its connections its own, the Host header the name', async (t) => {
  const port = await pair(t, createServer, say);
  const http = await createHttpClient({});
  t.teardown(() => http.close());
  for (const address of [...ADDRESSES, ...ADDRESSES]) {
    const client = endpointClient(http, { address });
    const said = new Set(await askAll(client, `http://origin.test:${port}/`));
    t.same([...said], [`${address} origin.test:${port}`]);
  }
  t.equal(endpointClient(http, { address: undefined }), http);
});

t.test('over TLS the certificate is checked by the name', async (t) => {
  await needs(t, ['openssl']);
  const folder = t.testdir();
  const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-days', '2', '-nodes'];
  const subject = ['-subj', '/CN=shoal test', '-addext', 'subjectAltName=DNS:origin.test'];
  await run('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', cert]);
  const secrets = { key: await readFile(key), cert: await readFile(cert) };
  const port = await pair(t, (listener) => createSecureServer(secrets, listener) as unknown as Server, say);
  const http = await createHttpClient({ caFile: cert });
  t.teardown(() => http.close());
  for (const address of ADDRESSES) {
    const client = endpointClient(http, { address });
    const said = new Set(await askAll(client, `https://origin.test:${port}/`));
    t.same([...said], [`${address} origin.test:${port}`]);
    for (const way of ['request', 'stream', 'prompt'] as const) {
      await t.rejects(async () => client[way](`https://other.test:${port}/`), {
        code: 'ERR_TLS_CERT_ALTNAME_INVALID',
      });
    }
  }
});

t.test('a log-in by the name serves each address, with a token of its own', async (t) => {
  const fetched: string[] = [];
  const port = await pair(t, createServer, ({ url = '', headers, socket }, response) => {
    const here = socket.localAddress ?? '';
    if (url.startsWith('/token')) {
      fetched.push(`${here} ${headers.authorization?.split(' ')[0]}`);
      response.end(JSON.stringify({ token: `of-${here}` }));
    } else if (headers.authorization === `Bearer of-${here}`) response.end('in');
    else {
      const realm = `http://${headers.host}/token`;
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end();
    }
  });
  const bare = await createHttpClient({});
  const http = withCredentials(bare, {
    credentialsFor: (host) =>
      host === `origin.test:${port}` ? { username: 'ann', password: 'p' } : undefined,
  });
  t.teardown(() => http.close());
  for (const address of [...ADDRESSES, ...ADDRESSES]) {
    const answer = await endpointClient(http, { address }).request(`http://origin.test:${port}/v2/`);
    t.equal((await http.read(answer, 100)).toString(), 'in');
  }
  t.same(
    fetched,
    ADDRESSES.map((address) => `${address} Basic`),
    'each once',
  );
});
