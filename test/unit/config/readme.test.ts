import { readFileSync } from 'node:fs';
import t from 'tap';
import { readme, withTables } from '../../support/readme-tables.ts';

t.test("README's configuration tables are the option tables (npm run docs writes them)", async (t) => {
  const text = readFileSync(readme, 'utf8');
  t.equal(withTables(text), text);
  t.match(text, /^\| `cache\.size` +\| `--cache-size SIZE` +\|/m);
});

t.test("README's first lines are the two commands", async (t) => {
  const [start, test] = readFileSync(readme, 'utf8').split('\n');
  t.match(start, /^ {4}npm ci && npm start\b/);
  t.match(test, /^ {4}npm ci && npm test\b/);
});
