import { alignColumns } from '../../dist/src/text/columns.js';

/** Columns that hold numbers. */
const NUMBERS = [4, 5, 6, 7, 8];
/** The results of run.mjs as text. */
const LOOPS = {
  'this project sda': 'SDA, both streams in one forward',
  'this project plain': 'plain decoding, one stream',
  'PyTorch authors': "the authors' way: two cached generate calls a step",
  'PyTorch batched': 'one forward of transformers for both rows',
  'PyTorch hand-tuned': 'hand-tuned decoder, one forward for both rows',
  'PyTorch compiled-tuned': 'the same under torch.compile',
  'llama.cpp sda': 'two sequences a step, SDA step in JavaScript',
  'llama.cpp two-sequences': 'two sequences a step, own sampler, no SDA step',
  'llama.cpp single': 'plain decoding, one sequence',
};

/** Decoding: greedy and sampled beside each other. */
export function decodeTable({ rows, tokens, prompts, machine, repeats }) {
  const greedy = rows.filter((row) => row.greedy && row.loop !== 'prefill');
  const lines = greedy.map((row) => {
    const sampled = rows.find((other) => !other.greedy && same(other, row));
    return [
      row.system,
      LOOPS[`${row.system} ${row.loop}`],
      row.dtype,
      `${row.threads}`,
      spread(row.tokensPerSecond),
      times(row),
      sampled ? spread(sampled.tokensPerSecond) : '-',
      sampled ? times(sampled) : '-',
      row.agreement === null ? '-' : `${row.agreement}`,
    ];
  });
  const header = [
    'system',
    'loop',
    'dtype',
    'threads',
    'greedy tokens/s',
    'here',
    'top-p tokens/s',
    'here',
    'same tokens',
  ];
  return [
    `${machine.cpu}, prompts of ${prompts.base} and ${prompts.instructed} tokens, ${tokens} tokens, ${repeats} rounds in turn; median (p20-p80)`,
    '"here": how many times faster this project decodes with SDA; "same tokens": leading greedy tokens as here',
    '',
    ...alignColumns([header, ...lines], NUMBERS),
  ].join('\n');
}

/** Prefill: the pair of prompts here, one unshared row elsewhere. */
export function prefillTable({ rows, longPrompts }) {
  const lines = rows
    .filter(({ loop }) => loop === 'prefill')
    .map((row) => [
      row.system,
      row.system === 'this project'
        ? `pair of ${longPrompts.base} and ${longPrompts.instructed} tokens with a shared prefix`
        : `one row of ${longPrompts.instructed} tokens`,
      row.dtype,
      `${row.threads}`,
      spread(row.prefillMs),
      times(row),
    ]);
  const header = ['system', 'prefill', 'dtype', 'threads', 'ms', 'here'];
  return alignColumns([header, ...lines], NUMBERS).join('\n');
}

function same(a, b) {
  return ['system', 'loop', 'dtype', 'threads'].every((key) => a[key] === b[key]);
}

function times({ ratio }) {
  return ratio === null ? '-' : `${ratio.median.toFixed(2)}x`;
}

function spread({ median, p20, p80 }) {
  return `${median.toFixed(1)} (${p20.toFixed(1)}-${p80.toFixed(1)})`;
}
