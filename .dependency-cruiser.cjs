/**
 * Which way imports may go: down and inwards. Each folder lists all that its files may import from this
 * package, besides themselves; folders that are not listed here (the API, the command line)
 * stand on top and are held by the rules below.
 */
const COMMON = '^src/(errors|abort)[.]ts$';
const MAY_IMPORT = {
  [COMMON]: [],
  '^src/runtime/': [COMMON],
  '^src/setup/': [COMMON, '^src/runtime/'],
  '^src/checkpoint/': [COMMON],
  '^src/text/': [COMMON, '^src/checkpoint/'],
  '^kernels/': [COMMON, '^src/runtime/'],
  '^src/method/': [COMMON, '^kernels/'],
  '^src/rules/': [COMMON, '^src/method/'],
  '^src/model/': [COMMON, '^kernels/', '^src/runtime/', '^src/checkpoint/'],
  '^src/decode/': [COMMON, '^src/model/', '^src/method/', '^src/runtime/'],
  '^src/generate/': [COMMON, '^src/(text|method|rules|model|decode|checkpoint)/'],
  '^src/evaluate/': [
    COMMON,
    '^kernels/',
    '^src/(checkpoint|text|method|decode|model)/',
    '^src/generate/',
  ],
  '^src/engine/': [
    COMMON,
    '^kernels/',
    '^src/(text|method|rules|model|decode|generate)/',
    '^src/evaluate/(chat-options|connection|proxy|secrets)[.]ts$',
    '^src/runtime/(tensorflow|paths)[.]ts$',
    '^src/setup/cache[.]ts$',
  ],
  '^src/serve/': [
    COMMON,
    '^src/(text|method|rules|decode|generate|evaluate)/',
    '^src/runtime/paths[.]ts$',
  ],
  '^src/import/': [
    COMMON,
    '^src/(checkpoint|text|setup|model)/',
    '^src/runtime/(quantised|paths)[.]ts$',
  ],
  '^src/quantise/': [COMMON, '^src/(import|model|runtime)/'],
  '^src/experiment/': [
    COMMON,
    '^src/(runtime|setup|checkpoint|text|method|model|decode|evaluate|rules)/',
    '^src/bench/environment[.]ts$',
    '^src/(generate|engine)/',
  ],
  '^src/report/': [COMMON, '^src/(text|evaluate|experiment)/', '^src/runtime/paths[.]ts$'],
};

const OWN_FILES = '^(src|kernels|bench|test|weights)/';

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
      name: `layer ${folder.replace(/[\\^$[\]]/g, '')}`,
      comment: 'Imports go down and inwards only; see MAY_IMPORT in .dependency-cruiser.cjs.',
      severity: 'error',
      from: { path: folder },
      to: { path: OWN_FILES, pathNot: [folder, ...allowed] },
    })),
    {
      name: 'nothing imports the command line',
      severity: 'error',
      from: { pathNot: '^src/cli/' },
      to: { path: '^src/cli/' },
    },
    {
      name: 'the package does not import its tests and benches',
      severity: 'error',
      from: { path: '^(src|kernels)/' },
      to: { path: '^(test|bench)/' },
    },
    {
      name: 'TensorFlow starts on demand, in one place',
      comment: 'Call startTensorFlow; operations come from @tensorflow/tfjs-core.',
      severity: 'error',
      from: {},
      to: {
        path: 'node_modules/@tensorflow/tfjs-node-gpu/dist/',
        dependencyTypesNot: ['dynamic-import'],
      },
    },
    {
      name: 'only the runtime starts TensorFlow',
      severity: 'error',
      from: { pathNot: '^src/runtime/tensorflow[.]ts$' },
      to: { path: 'node_modules/@tensorflow/tfjs-node-gpu/dist/' },
    },
    {
      name: 'the command line alone parses arguments and colours text',
      severity: 'error',
      from: { pathNot: '^src/cli/' },
      to: { path: 'node_modules/(commander|picocolors)/' },
    },
    {
      name: 'no cycles',
      comment: 'Type imports may go both ways, as between a kernel and its reference.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'installed with the package',
      comment: 'What src and kernels import must stand in "dependencies".',
      severity: 'error',
      from: { path: '^(src|kernels)/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|build)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'node', 'default'],
    },
  },
};
