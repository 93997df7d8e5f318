/** The one HTML document behind every page, and the headers that keep it to itself. */
import { createHash } from 'node:crypto';
import { LIBRARIES } from './files.ts';

const imports = Object.fromEntries(
  Object.entries(LIBRARIES).map(([name, file]) => [name, `/ui/files/${file}`]),
);
const IMPORT_MAP = JSON.stringify({ imports });

/** The map is the only script in the document; its hash lets it in and nothing else. */
const POLICY = [
  "default-src 'none'",
  `script-src 'self' 'sha256-${createHash('sha256').update(IMPORT_MAP).digest('base64')}'`,
  ...["style-src 'self'", "img-src 'self'", "connect-src 'self'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ...["require-trusted-types-for 'script'", "trusted-types 'none'"],
].join('; ');

/** Of everything below /ui. */
export const PAGE_HEADERS = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
} as const;

export function shell(modules: readonly string[]): string {
  const preload = modules.map((name) => `<link rel="modulepreload" href="/ui/files/${name}">`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Shoal</title>
<link rel="icon" href="/ui/files/icon.svg">
<link rel="stylesheet" href="/ui/files/style.css">
<script type="importmap">${IMPORT_MAP}</script>
${preload.join('\n')}
<script type="module" src="/ui/files/main.ts"></script>
</head>
<body>
<noscript>These pages need JavaScript. The same is told by <code>shoal status</code>, <code>shoal rollout</code> and the API at <a href="/api/v1/openapi.json">/api/v1</a>.</noscript>
</body>
</html>
`;
}
