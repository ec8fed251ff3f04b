import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Response, Row, RunData } from '../../src/experiment/rows.js';
import { type PageItem, pageRun } from '../../src/report/data.js';
import { writeReport } from '../../src/report/index.js';
import { renderPage } from '../../src/report/page.js';
import { Traces } from '../../src/report/page-traces.js';
import { chromiumPath as executablePath } from '../support/chromium.js';
import { AWKWARD, madeUpRun, sdaTraceOf, writeRun } from '../support/runs.js';

describe('the report in a browser', () => {
  beforeEach(({ skip }) => skip(!executablePath, 'there is no Chromium on PATH'));
  const dir = mkdtempSync(join(tmpdir(), 'sda-report-'));
  let browser: Browser;
  const files: Record<string, string> = {};
  beforeAll(async () => {
    if (!executablePath) return;
    const launching = chromium.launch({ executablePath, args: ['--no-sandbox'] });
    const write = async (name: string, runs: Parameters<typeof madeUpRun>[0][]) => {
      const paths = runs.map((run, index) => {
        const path = join(dir, `${name}-${index}`);
        writeRun(path, madeUpRun(run));
        return path;
      });
      files[name] = (await writeReport(paths, join(dir, `${name}.html`))).file;
    };
    await write('one', [{ items: 60 }]);
    await write('several', [
      { items: 20, name: 'first' },
      { items: 25, name: '<b>second</b>', header: { standIn: true } },
    ]);
    const methods = ['base', 'instructed', 'steering', 'sda'] as const;
    await write('against', [
      { items: 20, methods, against: [{ method: 'sda', against: 'steering' }] },
    ]);
    files.large = join(dir, 'large.html');
    writeFileSync(files.large, await largePage());
    const trace = join(dir, 't.jsonl');
    writeFileSync(trace, TRACE);
    files.trace = (await writeReport([trace])).file;
    const begun = join(dir, 'begun.jsonl');
    writeFileSync(begun, TRACE.split('\n')[0]!);
    files.begun = (await writeReport([begun])).file;
    const ruleTrace = join(dir, 'rule.jsonl');
    writeFileSync(ruleTrace, RULE_TRACE);
    files.rule = (await writeReport([ruleTrace])).file;
    const rules = join(dir, 'rules');
    writeRun(rules, runWithRule());
    files.rules = (await writeReport([rules])).file;
    browser = await launching;
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Opens a report, and fails with whatever it complains of or asks the network for. */
  async function open(
    name: string,
    check: (page: Page) => Promise<void>,
    options: { hash?: string; colorScheme?: 'light' | 'dark' } = {},
  ): Promise<void> {
    const page = await browser.newPage({ colorScheme: options.colorScheme ?? 'light' });
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning')
        complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (!/^(file|data|blob):/.test(request.url())) complaints.push(request.url());
    });
    try {
      await page.goto(`file://${files[name]}${options.hash ?? ''}`);
      await page.waitForSelector('html[data-ready]');
      await check(page);
      expect(complaints).toEqual([]);
    } finally {
      await page.close();
    }
  }
  const rowsShown = (page: Page) => page.locator('#shown').textContent();
  const chosen = (page: Page) => page.locator('.row[aria-selected="true"] .meta').textContent();

  test('shows table, charts and the first item', () =>
    open('one', async (page) => {
      expect(await page.locator('#table tbody tr').count()).toBe(4);
      const charts = (id: string) => page.locator(`#${id} canvas`).count();
      expect(await charts('outcome-chart')).toBe(1);
      expect(await charts('score-charts')).toBe(3); // S, and what the judge gave for each of two methods
      expect(await charts('course-charts')).toBe(2); // JS and T
      expect(await page.locator('#item .answer').count()).toBe(2);
      expect(await page.locator('#item').textContent()).not.toContain('null');
      expect(await rowsShown(page)).toBe('60 of 60 items');
      expect(await page.locator('.banner').count()).toBe(0);
      const headings = await page.locator('#table th').allTextContents();
      expect(headings.slice(0, 3)).toEqual(['Method', 'Set', 'n']);
    }));

  test('shows what a model wrote as text, whatever it is', () =>
    open('one', async (page) => {
      for (const [index, text] of AWKWARD.entries()) {
        const query = await page.locator('#item .query').textContent();
        expect(query).toBe(`${index}: ${text}`);
        const answer = await page.locator('#item .answer > .tokens').first().textContent();
        expect(answer!.startsWith(text)).toBe(true);
        await page.keyboard.press('j');
      }
      expect(await page.title()).toBe('SDA report: made-up');
      expect(await page.locator('#item img, #item b').count()).toBe(0);
    }));

  test('shows a method beside the one that it is compared with', () =>
    open(
      'against',
      async (page) => {
        const options = await page.locator('#method option').allTextContents();
        expect(options).toEqual(['instructed', 'steering', 'sda', 'sda against steering']);
        expect(await page.locator('#item .answer h3').allTextContents()).toEqual([
          'steering',
          'sda',
        ]);
        expect(await page.locator('#item').textContent()).toContain('sda against steering win: ');
        const headings = await page.locator('#table th').allTextContents();
        expect(headings.slice(0, 4)).toEqual(['Method', 'Against', 'Set', 'n']);
        const cells = await page.locator('#table tbody tr').nth(6).locator('td').allTextContents();
        expect(cells.slice(0, 3)).toEqual(['sda', 'steering', 'full']);
        expect(await page.locator('#score-charts').textContent()).toContain(
          'sda and steering, as judged',
        );
        await page.keyboard.press('m'); // on to the first one
        expect(await page.locator('#item .answer h3').allTextContents()).toEqual([
          'base',
          'instructed',
        ]);
      },
      { hash: '#item=item-0&method=sda-vs-steering' },
    ));

  test('filters by text, outcome, label and score, and sorts', () =>
    open('one', async (page) => {
      await page.fill('#search', 'question number 3');
      expect(await rowsShown(page)).toBe('10 of 60 items'); // 30..39
      await page.fill('#search', '');
      await page.selectOption('#outcome', 'failed');
      expect(await rowsShown(page)).toBe('7 of 60 items'); // 12, 25, 38, 51 and 16, 33, 50
      await page.selectOption('#outcome', 'tie');
      await page.selectOption('#label', 'topic: kitchen');
      // i % 4 = 2 and i % 3 = 1 is i % 12 = 10; none of 10, 22, 34, 46, 58 has failed
      expect(await rowsShown(page)).toBe('5 of 60 items');
      await page.selectOption('#outcome', '');
      await page.selectOption('#label', '');
      await page.selectOption('#sort', 'score');
      const scores = await page.locator('.row .meta').allTextContents();
      const numbers = scores.flatMap((text) => /S (\d+)/.exec(text)?.[1] ?? []).map(Number);
      expect(numbers.length).toBeGreaterThan(5);
      expect(numbers).toEqual([...numbers].sort((a, b) => b - a));
      await page.selectOption('#sort', '-gap');
      const gaps = (await page.locator('.row .meta').allTextContents()).map((text) =>
        Number(/ (-?\d+) {2}item/.exec(text)?.[1]),
      );
      expect(gaps[0]).toBeLessThan(-7);
      expect(gaps).toEqual([...gaps].sort((a, b) => a - b));
      await page.fill('#score-from', '101');
      expect(await rowsShown(page)).toBe('0 of 60 items');
      expect(await page.locator('#item').textContent()).toBe('No item passes the filters.');
    }));

  test('shades tokens three ways, and tells the numbers of one', () =>
    open('one', async (page) => {
      const colours = () =>
        page
          .locator('#item .tokens')
          .last()
          .evaluate((box) =>
            [...box.children].map((span) => (span as HTMLElement).style.backgroundColor),
          );
      const seen = [await colours()];
      for (const key of ['2', '3']) {
        await page.keyboard.press(key);
        seen.push(await colours());
      }
      expect(new Set(seen.map(String)).size).toBe(3);
      expect(seen[2]![3]).toBe('transparent'); // log P2 is -Infinity there
      await page.locator('#item .tokens').last().locator('span').nth(5).hover();
      const run = madeUpRun({ items: 60 });
      const row = run.responses.get('sda')!.get('item-0')!;
      const { js, temperature, logpBase } = sdaTraceOf(row);
      const numbers = await page.locator('#numbers').textContent();
      expect(numbers).toContain('token 6 of 13');
      expect(numbers).toContain(`JS ${js[5]!.toFixed(4)}`);
      expect(numbers).toContain(`T ${temperature[5]!.toFixed(3)}`);
      expect(numbers).toContain(`log P1 ${logpBase[5]!.toFixed(2)}`);
    }));

  test('works with the keyboard alone', () =>
    open('one', async (page) => {
      await page.keyboard.press('j');
      await page.keyboard.press('j');
      expect(await chosen(page)).toContain('item-2');
      await page.locator('#list').focus();
      await page.keyboard.press('ArrowUp');
      expect(await chosen(page)).toContain('item-1');
      await page.keyboard.press('End');
      expect(await chosen(page)).toContain('item-59');
      await page.keyboard.press('t');
      await page.keyboard.press('ArrowRight');
      expect(await page.locator('#numbers').textContent()).toContain('token 6 of 17'); // the second after 4 of thinking
      await page.keyboard.press('m');
      expect(await page.locator('#method').inputValue()).toBe('instructed');
      await page.keyboard.press('?');
      expect(await page.locator('#keys').isVisible()).toBe(true);
      await page.keyboard.press('Escape');
      await page.keyboard.press('/');
      await page.keyboard.type('question number 40');
      expect(await rowsShown(page)).toBe('1 of 60 items');
    }));

  test('shows failures with their reasons, and thinking folded', () =>
    open('one', async (page) => {
      await page.evaluate(() => {
        location.hash = '#item=item-16';
      });
      await page.waitForFunction(() =>
        document.querySelector('#item')?.textContent?.includes('item-16'),
      );
      expect(await page.locator('#item').textContent()).toContain(
        'No response (unfinished-thinking): It thought on.',
      );
      await page.evaluate(() => {
        location.hash = '#item=item-9';
      });
      await page.waitForFunction(() =>
        document.querySelector('#item')?.textContent?.includes('item-9'),
      );
      const thinking = page.locator('#item details').first();
      expect(await thinking.getAttribute('open')).toBeNull();
      expect(await thinking.locator('.tokens').textContent()).toBe(
        '<think>Let me think.</think>\n\n',
      );
      const answer = page.locator('#item .answer').first().locator('> .tokens');
      expect(await answer.textContent()).toMatch(/^ word\d+/);
    }));

  test('opens at the item of its address', () =>
    open(
      'several',
      async (page) => {
        expect(await page.locator('#run').inputValue()).toBe('1');
        expect(await chosen(page)).toContain('item-21');
        expect(await page.locator('#method').inputValue()).toBe('instructed');
        expect(await page.locator('.banner').allTextContents()).toEqual([
          expect.stringMatching(/^<b>second<\/b>: .* these are not results\.$/),
        ]);
        const runs = await page.locator('#table tbody td:first-child').allTextContents();
        expect(new Set(runs)).toEqual(new Set(['first', '<b>second</b>']));
        expect(
          await page.locator('#items').evaluate((e) => e.getBoundingClientRect().top),
        ).toBeLessThan(400);
        expect(await page.locator('#table tbody tr').count()).toBe(8);
      },
      { hash: '#item=item-21&run=1&method=instructed' },
    ));

  test('has a light and a dark theme', () =>
    open(
      'one',
      async (page) => {
        const background = () =>
          page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const theme = (name: string) =>
          page.waitForFunction((wanted) => document.documentElement.dataset.theme === wanted, name);
        await theme('dark');
        const dark = await background();
        await page.emulateMedia({ colorScheme: 'light' });
        await theme('light');
        expect(await background()).not.toBe(dark);
        await page.click('#theme');
        await theme('dark');
        expect(await background()).toBe(dark);
      },
      { colorScheme: 'dark' },
    ));

  test('draws only what is in sight of 1,000 items with 256 tokens in 5 methods', () =>
    open('large', async (page) => {
      const nodes = () => page.evaluate(() => document.querySelectorAll('*').length);
      expect(await rowsShown(page)).toBe('1000 of 1000 items');
      expect(await nodes()).toBeLessThan(2000);
      await page.locator('#list').evaluate((list) => {
        list.scrollTop = 30_000;
      });
      await page.waitForFunction(() => document.querySelector('#row-660') !== null);
      await page.fill('#search', 'question number 77');
      expect(await rowsShown(page)).toBe('11 of 1000 items');
      expect(await nodes()).toBeLessThan(2000);
    }));

  test('shows one trace the same way', () =>
    open('trace', async (page) => {
      expect(await page.locator('#results').isVisible()).toBe(false);
      expect(await page.locator('#course-charts canvas').count()).toBe(2);
      expect(await page.locator('#item .tokens').textContent()).toBe('Hello there');
      expect(await page.locator('#item').textContent()).not.toContain('null');
      expect(await page.locator('#item').textContent()).not.toContain('ended');
      expect(await page.locator('.banner').textContent()).toContain(
        'the last line is half written',
      );
      expect(await page.locator('#list').isVisible()).toBe(false);
      await page.keyboard.press('t');
      expect(await page.locator('#numbers').textContent()).toContain('JS 0.1000   T 0.400');
    }));

  test('shows a trace of a rule, shaded by what the rule says', () =>
    open('rule', async (page) => {
      const labels = await page.locator('#item .shade label').allTextContents();
      expect(labels.map((label) => label.trim())).toEqual([
        ...['JS (1)', 'T (2)', 'surprise (3)', 'details.scoreEntropy (4)'],
      ]);
      const colours = () =>
        page
          .locator('#item .tokens')
          .evaluate((box) =>
            [...box.children].map((span) => (span as HTMLElement).style.backgroundColor),
          );
      const seen = [await colours()];
      for (const key of ['2', '3', '4']) {
        await page.keyboard.press(key);
        seen.push(await colours());
      }
      expect(new Set(seen.map(String)).size).toBe(4);
      expect(seen[3]![1]).toBe('transparent'); // the second token has no such number
      await page.keyboard.press('t');
      expect(await page.locator('#numbers').textContent()).toBe(
        [
          'token 1 of 2 "Hello"   JS 0.1000   T 0.400   surprise 30   details.scoreEntropy 1.5',
          "log P(told) -0.50   log P(untold) -1.00   log P' none",
        ].join('   '),
      );
      expect(await page.locator('#about').textContent()).toContain('"rule": "mine"');
    }));

  test('shows a rule beside the base model, under its name and with its settings', () =>
    open(
      'rules',
      async (page) => {
        expect(await page.locator('#item .answer h3').allTextContents()).toEqual(['base', 'mine']);
        const labels = await page.locator('#item .shade label').allTextContents();
        expect(labels.map((label) => label.trim())).toEqual([
          ...['JS (1)', 'T (2)', 'shift (3)', 'surprise (4)'],
        ]);
        const shaded = (answer: number) =>
          page
            .locator('#item .answer')
            .nth(answer)
            .locator('.tokens')
            .last()
            .evaluate((box) =>
              [...box.children].some(
                (span) => (span as HTMLElement).style.backgroundColor !== 'transparent',
              ),
            );
        await page.keyboard.press('4'); // of the rule alone
        expect([await shaded(0), await shaded(1)]).toEqual([false, true]);
        await page.keyboard.press('1');
        expect([await shaded(0), await shaded(1)]).toEqual([true, true]);
        expect(await page.locator('#about').textContent()).toContain('cfg: weight 1.5');
      },
      { hash: '#item=item-1&method=mine' },
    ));

  test('shows a trace that has no token yet', () =>
    open('begun', async (page) => {
      expect(await page.locator('#curves').isVisible()).toBe(false);
      expect(await page.locator('#item').textContent()).toContain('(empty answer)');
    }));

  test('keeps within a narrow window', () =>
    open('several', async (page) => {
      await page.setViewportSize({ width: 400, height: 800 });
      await page.waitForFunction(() => document.documentElement.scrollWidth === 400, null, {
        timeout: 5000,
      });
    }));
});

/** 1,000 items with 256 tokens in 5 methods: 50 made-up ones, 20 times over, since more take long to make. */
function largePage(): Promise<string> {
  const traces = new Traces();
  const methods = ['base', 'instructed', 'steering', 'scaling', 'sda'] as const;
  const run = pageRun(madeUpRun({ items: 50, tokens: 256, methods }), traces);
  const items = Array.from({ length: 1000 }, (_, i): PageItem => {
    const made = run.items[i % 50]!;
    const moved = Object.entries(made.responses).map(([method, response]) => {
      if ('failed' in response || response.trace === null) return [method, response];
      const trace = response.trace + Math.floor(i / 50) * traces.lines.length;
      return [method, { ...response, trace }];
    });
    const responses: PageItem['responses'] = Object.fromEntries(moved);
    return { ...made, id: `item-${i}`, query: `Question number ${i}?`, responses };
  });
  const data = { title: 'large', filter: '', hottest: traces.hottest, runs: [{ ...run, items }] };
  return renderPage(data, Array.from({ length: 20 }, () => traces.lines).flat());
}

/** A made-up run with a method that is a rule. */
function runWithRule(): RunData {
  const settings = { weight: 1.5, temperature: 0.6 };
  const methods = ['base', 'mine'];
  const rules = { mine: { rule: 'cfg', settings } };
  const run = madeUpRun({ items: 5, methods, header: { rules } });
  const rows = [...run.responses.get('mine')!].map(([id, row]): [string, Row<Response>] => {
    if (row.status !== 'done' || !row.value.trace || !('js' in row.value.trace)) return [id, row];
    const { text, js, temperature, logp, logpBase: told } = row.value.trace;
    const statistics = { js, temperature, surprise: js.map((_, i) => 3 * i) };
    const value = {
      ...row.value,
      ...rules.mine,
      trace: { text, logp, logps: { told }, statistics },
    };
    return [id, { ...row, value }];
  });
  return { ...run, responses: new Map([...run.responses, ['mine', new Map(rows)]]) };
}

const step = (n: number, text: string, js: number) =>
  JSON.stringify({
    type: 'step',
    step: n,
    id: n,
    text,
    js,
    temperature: 0.4,
    a: 0.2,
    logp_base: -1,
    logp_instructed: -0.5,
    logp: null,
  });
const TRACE = [
  JSON.stringify({
    type: 'header',
    trace_version: 1,
    sda_tfjs: '0.1.0',
    node: 'v20',
    tensorflow: '2',
    device: 'cpu',
    machine: 'm',
    model: 'some/model',
    settings: { mode: 'sda', seed: 1 },
  }),
  step(0, 'Hello', 0.1),
  step(1, ' there', 0.2),
  '{"type": "step", "step": 2, "te',
].join('\n');
const RULE_TRACE = [
  JSON.stringify({
    type: 'header',
    trace_version: 2,
    model: 'some/model',
    settings: { rule: 'mine', weight: 2 },
  }),
  JSON.stringify({
    ...{ type: 'step', step: 0, id: 1, text: 'Hello', logp: null, js: 0.1, temperature: 0.4 },
    ...{ surprise: 30, logps: { told: -0.5, untold: -1 }, details: { scoreEntropy: 1.5 } },
  }),
  JSON.stringify({
    ...{ type: 'step', step: 1, id: 2, text: ' there', logp: -1, js: 0.3, temperature: 0.2 },
    ...{ surprise: 10, logps: { told: -2, untold: null }, details: {} },
  }),
].join('\n');
