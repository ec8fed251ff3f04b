// The cells of the matrix: one setting of the surroundings each, and the part of the suite that it can influence.
import { readFileSync } from 'node:fs';
import { nativeArch, nodeBinary, processorRuns, turkishLocale } from './surroundings.mjs';

// Numbers: whatever runs through TensorFlow or the kernels.
const NUMBERS = ['test/kernels', 'test/model', 'test/decode', 'test/generate', 'test/runtime'];
// Text: whatever reads, orders, dates, prints or wraps it, in files and on terminals.
const TEXT = [
  'bench',
  'checkpoint',
  'cli',
  'evaluate',
  'experiment',
  'report',
  'setup',
  'text',
].map((folder) => `test/${folder}`);
// What Node itself differs in between versions: its notices, addons, streams, processes and files.
const NODE = ['test/cli', 'test/runtime', 'test/setup', 'test/experiment', 'test/text'];

const { engines } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);
const LOWEST_NODE = /[\d.]+/.exec(engines.node)[0];

/**
 * @typedef {object} Cell
 * @property {string} name
 * @property {Record<string, string>} [env] What is set; of the variables in `CONTROLLED` the others are unset.
 * @property {string[]} [tests] Tests of the suite, as vitest's filters.
 * @property {string} [native] Processor for which the operations are built without TensorFlow: see native/run.mjs.
 * @property {string} [folder] Name of a folder to run a copy of the project in.
 * @property {() => Promise<{ env?: Record<string, string>, node?: string } | string>} [prepare] See surroundings.mjs.
 * @property {boolean} [ci] Belongs to the short matrix of CI: what differs most from a plain run.
 */

/** Variables that a cell sets or that would hide what it sets. */
export const CONTROLLED = [
  ...[
    'TF_ENABLE_ONEDNN_OPTS',
    'TF_NUM_INTRAOP_THREADS',
    'TF_CPP_MIN_LOG_LEVEL',
    'SDA_ARCH',
    'SDA_KERNELS',
  ],
  ...[
    'LANG',
    'LANGUAGE',
    'LC_ALL',
    'LOCPATH',
    'TZ',
    'COLUMNS',
    'NO_COLOR',
    'FORCE_COLOR',
    'CI',
    'SDA_TEST_NODE',
  ],
];

/** Instructions: vectors have 4, 8 or 16 lanes, and sums another order. */
const archCell = (arch) => ({
  name: `arch-${arch}`,
  env: { SDA_ARCH: arch },
  tests: NUMBERS,
  native: arch,
  prepare: async () => processorRuns(arch),
});

/** A version of Node, from npm. */
const nodeCell = (version) => ({
  name: `node-${version}`,
  tests: NODE,
  prepare: async () => nodeBinary(version),
});

/** @type {Cell[]} */
export const CELLS = [
  // oneDNN: other implementations of TensorFlow's own operations, and notices of its own; unset, the processor decides
  { name: 'onednn-unset', tests: NUMBERS },
  { name: 'onednn-0', env: { TF_ENABLE_ONEDNN_OPTS: '0' }, tests: NUMBERS },
  { name: 'onednn-1', env: { TF_ENABLE_ONEDNN_OPTS: '1' }, tests: NUMBERS },
  ...['x86-64-v2', 'x86-64-v3', 'x86-64-v4', 'native'].map(archCell),
  { name: 'arch-aarch64', native: 'aarch64', prepare: async () => nativeArch('aarch64'), ci: true },
  // threads: the pieces that work is cut into, and whether helpers come at all
  ...['1', '2', '4'].map((count) => ({
    name: `threads-${count}`,
    env: { TF_NUM_INTRAOP_THREADS: count },
    tests: NUMBERS,
  })),
  // Turkish: i and I are no pair, and numbers have a comma
  { name: 'locale-turkish', tests: TEXT, prepare: turkishLocale },
  { name: 'zone-kiritimati', env: { TZ: 'Pacific/Kiritimati' }, tests: TEXT }, // UTC+14
  { name: 'columns-40', env: { COLUMNS: '40' }, tests: ['test/cli', 'test/report', 'test/setup'] },
  { name: 'no-color', env: { NO_COLOR: '1' }, tests: ['test/cli', 'test/setup'] },
  { name: 'force-color', env: { FORCE_COLOR: '1' }, tests: ['test/cli', 'test/setup'] },
  { name: 'ci', env: { CI: 'true' }, tests: TEXT },
  { name: 'ci-unset', tests: TEXT },
  // paths: in commands, in compilers' arguments, in messages
  {
    name: 'folder',
    folder: 'a clone, blä',
    tests: [...TEXT, 'test/cuda', ...NUMBERS],
  },
  // the lowest version of package.json is too old for the test runner: it runs the command line alone
  {
    name: `node-${LOWEST_NODE}`,
    tests: ['test/cli'],
    prepare: async () => nodeBinary(LOWEST_NODE, { runner: false }),
  },
  ...['20', '22', '24'].map(nodeCell),
  // for CI: the other vectors and the newest Node, shortly
  {
    name: 'ci-x86-64-v2',
    native: 'x86-64-v2',
    prepare: async () => processorRuns('x86-64-v2'),
    ci: true,
  },
  {
    name: 'ci-node-24',
    tests: ['test/cli/notices'],
    prepare: async () => nodeBinary('24'),
    ci: true,
  },
  {
    name: 'ci-settings',
    env: {
      TF_ENABLE_ONEDNN_OPTS: '0',
      TF_NUM_INTRAOP_THREADS: '1',
      COLUMNS: '40',
      TZ: 'Pacific/Kiritimati',
    },
    tests: ['test/kernels', 'test/decode', 'test/report/data', 'test/setup/addons'],
    ci: true,
  },
];
