import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

const run = promisify(execFile);

/** What npm says where it cannot reach the packages; anything else that fails is a fault. */
const UNREACHABLE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|E404)\b|network/;

const parent = mkdtempSync(join(tmpdir(), 'sda-install-'));
afterAll(() => rmSync(parent, { recursive: true, force: true }));
const app = join(parent, 'app');
let unreachable = '';
/** Paths in the tarball */
let packed: string[] = [];

const inApp = (file: string, ...args: string[]) => run(file, args, { cwd: app });
const node = (...args: string[]) => inApp(process.execPath, ...args);

/** As docs/start.md says, but from this folder, and with the packages that npm has already. */
async function install(): Promise<void> {
  const { stdout } = await run(
    'npm',
    ['pack', packageRoot(), '--pack-destination', parent, '--ignore-scripts', '--json'],
    { cwd: parent },
  );
  type Packed = { filename: string; files: { path: string }[] };
  const [{ filename, files }] = JSON.parse(stdout) as [Packed];
  packed = files.map(({ path }) => path);
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{"name":"app","private":true,"type":"module"}');
  const quick = ['--prefer-offline', '--no-audit', '--no-fund'];
  await inApp('npm', 'install', '--ignore-scripts', ...quick, join(parent, filename));
}

beforeAll(async () => {
  try {
    await install();
  } catch (error) {
    const { stderr = String(error) } = error as { stderr?: string };
    if (!UNREACHABLE.test(stderr)) throw error;
    unreachable = `npm cannot reach the packages: ${stderr.trim().split('\n', 1)[0]}`;
  }
  cpSync(checkpointDir('tiny-llama'), join(app, 'model'), { recursive: true });
  cpSync(checkpointDir('tiny-llama-tied'), join(app, 'talking'), { recursive: true });
  addTokenizer(join(app, 'talking'), TINY_TEMPLATE);
}, 600_000);

const needsPackages = ({ skip }: TestContext) => skip(unreachable !== '', unreachable);

test('the package holds what runs and its sources, but no pages and no tests', () => {
  const folders = new Set(
    packed.filter((path) => path.includes('/')).map((path) => path.split('/', 1)[0]),
  );
  expect([...folders].sort()).toEqual(['dist', 'examples', 'kernels', 'src', 'weights']);
  expect(packed.filter((path) => path.endsWith('.tsbuildinfo'))).toEqual([]);
  expect(packed).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'dist/src/cli/main.js']));
});

test('set-up works in a project that has installed the package', {
  timeout: 600_000,
}, async (context) => {
  needsPackages(context);
  const { stdout, stderr } = await inApp('npx', '--no-install', 'sda', 'setup');
  expect(stdout + stderr).toMatch(/TensorFlow/);
  expect((await inApp('npx', '--no-install', 'sda', '--version')).stdout).toMatch(
    /^\d+\.\d+\.\d+\n$/,
  );
});

test('both entry points can be imported, and generate', async (context) => {
  needsPackages(context);
  const { sda } = golden('tiny-llama');
  const { sigma, steps } = sda.runs['sigma_0.01']!;
  const request = {
    prompts: { baseIds: sda.base, instructedIds: sda.instructed },
    settings: { greedy: true, amplification: sda.a, k: sda.k, t0: sda.t0, sigma, tMin: sda.tmin },
    maxTokens: 5,
    ignoreEos: true,
  };
  writeFileSync(
    join(app, 'run.js'),
    `import { loadModel, startTensorFlow } from 'sda-tfjs';
     import { parseConfig, runExperiment } from 'sda-tfjs/experiment';
     const model = await loadModel('model');
     const ids = [];
     for await (const { id } of model.generate(${JSON.stringify(request)})) ids.push(id);
     model.dispose();
     console.log(JSON.stringify({ ids, experiment: [typeof parseConfig, typeof runExperiment] }));`,
  );
  const { stdout } = await node('run.js');
  expect(JSON.parse(stdout)).toEqual({
    ids: steps.slice(0, 5).map(({ id }) => id), // transformers' own
    experiment: ['function', 'function'],
  });
});

test('the command line generates', async (context) => {
  needsPackages(context);
  const options = [
    '--model',
    'talking',
    '--query',
    'Hi',
    '--greedy',
    '--max-tokens',
    '4',
    '--json',
  ];
  const { stdout } = await inApp('npx', '--no-install', 'sda', 'generate', ...options);
  const { token_ids: ids } = JSON.parse(stdout) as { token_ids: number[] };
  expect(ids).toHaveLength(4);
});

test('a TypeScript file checks against the types', async (context) => {
  needsPackages(context);
  writeFileSync(
    join(app, 'user.ts'),
    `import { amplify, type GenerateSummary, loadModel } from 'sda-tfjs';
     import { type ExperimentConfig, parseConfig } from 'sda-tfjs/experiment';
     const model = await loadModel('model', { dtype: 'float32' });
     for await (const { text, js } of model.generate({ query: 'Hi', settings: { amplification: amplify(70) } })) console.log(text, js.toFixed(3));
     export const finished = ({ answerFinished }: GenerateSummary): boolean => answerFinished;
     export const read: (...args: Parameters<typeof parseConfig>) => ExperimentConfig = parseConfig;
     // @ts-expect-error a type that is not any refuses this
     model.generate({ query: 7 });
     // @ts-expect-error and this
     parseConfig();
`,
  );
  const compiler = join(packageRoot(), 'node_modules', 'typescript', 'bin', 'tsc');
  const options = [
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--module',
    'nodenext',
    '--target',
    'es2022',
  ];
  await node(compiler, ...options, 'user.ts').catch(({ stdout }: { stdout: string }) => {
    throw new Error(stdout);
  });
});
