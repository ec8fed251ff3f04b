import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { stepChart } from '../../src/bench/chart.js';
import type { VariantReport } from '../../src/bench/decoding.js';
import { summarise } from '../../src/bench/statistics.js';
import { findPython } from '../../src/setup/tools.js';

function variant(samples: readonly number[]): VariantReport {
  return {
    prefillMs: summarise([1]),
    stepMs: summarise(samples),
    tokensPerSecond: summarise(samples.map((ms) => 1000 / ms)),
    bytesPerStep: 1e8,
    limitMs: 6.5,
    limitShare: 0.5,
  };
}

it('the chart is well-formed SVG that shows the medians and the limit', async () => {
  const variants = {
    plain: variant([8, 8.5, 9]),
    sda: variant([10, 10.25, 11]),
    sequential: variant([19, 20, 20.5]),
  };
  const svg = await stepChart({ variants }, 'Model <A> & "B"', 'a machine');
  // A second XML parser that is no string search: each element with its text
  const elements = JSON.parse(
    execFileSync(
      await pythonPath(),
      [
        '-c',
        'import sys, json, xml.etree.ElementTree as E; print(json.dumps([[e.tag.split("}")[1], "".join(e.itertext())] for e in E.fromstring(sys.stdin.read()).iter()]))',
      ],
      { input: svg, encoding: 'utf8' },
    ),
  ) as [string, string][];
  expect(elements[0]?.[0]).toBe('svg');
  const texts = elements.filter(([tag]) => tag === 'text').map(([, text]) => text);
  expect(texts).toEqual(
    expect.arrayContaining([
      'Model <A> & "B"',
      'a machine',
      '8.5 ms, 118 tokens/s',
      '10.3 ms, 98 tokens/s',
      '20.0 ms, 50 tokens/s',
      'memory limit of SDA, 6.5 ms',
    ]),
  );
  expect(svg).toContain('prefers-color-scheme');
});

async function pythonPath(): Promise<string> {
  return (await findPython(process.env)).command;
}
