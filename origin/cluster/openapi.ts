/** The part of the OpenAPI document that is about admission; these paths are there under `--admission token`. */
import { json, problem } from '../openapi-parts.ts';

const object = (properties: Readonly<Record<string, object>>) => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
});
const text = { type: 'string' } as const;
const time = { type: 'string', format: 'date-time' } as const;
const body = (properties: Readonly<Record<string, object>>) => ({
  required: true,
  content: { 'application/json': { schema: object(properties) } },
});
const header = (name: string, description: string) => ({
  ...{ name, in: 'header', required: true, description, schema: text },
});

const membership = header(
  'Shoal-Membership',
  'a JWT that the cluster signed and that names a libp2p peer id',
);
const proof = header(
  'Shoal-Proof',
  'time in ms.nonce.SHA-256 of the body.Ed25519 signature by the key of the peer id, the last three in base64url; each counts once. ' +
    'Signed are, each followed by a line feed but the last: shoal-proof-v1, method, Host, path and query, time, nonce, hash, and the membership or join statement',
);
const asMember = { security: [], parameters: [membership, proof] } as const;
const given = json('A membership', object({ membership: text }));
const noMember = {
  '401': problem('No membership, or none that counts; the reason is in the detail'),
} as const;

export const clusterPaths = {
  '/api/v1/cluster': {
    get: {
      security: [],
      summary: 'The name of the cluster: its Ed25519 public key, base64url',
      responses: { '200': json('The cluster', object({ id: text })) },
    },
  },
  '/api/v1/cluster/join': {
    post: {
      security: [],
      summary: 'Gives a membership for a join token',
      parameters: [proof, header('Shoal-Join-Proof', "the same by the join token's own key")],
      requestBody: body({ token: text, peerId: text, role: { enum: ['agent', 'tracker'] } }),
      responses: {
        '200': given,
        '400': problem('Malformed'),
        '403': problem('The token or a proof does not count, or the peer id was revoked'),
      },
    },
  },
  '/api/v1/cluster/renew': {
    post: { ...asMember, summary: 'Gives a newer membership', responses: { '200': given, ...noMember } },
  },
  '/api/v1/cluster/revocations': {
    get: {
      ...asMember,
      summary: 'What was revoked. Answers to members name the version of this list in Shoal-Revocations',
      responses: {
        '200': json('The list', object({ version: text, revocations: { type: 'array', items: text } })),
        ...noMember,
      },
    },
    post: {
      security: [],
      summary: "Takes a revocation that the cluster's key has signed",
      requestBody: body({ statement: text }),
      responses: {
        '200': json('It is on the disk', object({ revoked: text })),
        '400': problem('Malformed'),
        '403': problem('This cluster did not sign it'),
      },
    },
  },
  '/api/v1/cluster/members': {
    get: {
      security: [{}, { basic: ['manage'] }],
      summary: 'Who joined or renewed at this origin',
      responses: {
        '200': json(
          'The members',
          object({
            members: {
              type: 'array',
              items: object({
                peerId: text,
                role: { enum: ['agent', 'origin', 'tracker'] },
                address: text,
                joinedAt: time,
                renewedAt: time,
                expiresAt: time,
                state: { enum: ['member', 'expired', 'revoked'] },
              }),
            },
          }),
        ),
      },
    },
  },
} as const;
