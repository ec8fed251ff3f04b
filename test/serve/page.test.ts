import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { chromiumPath } from '../support/chromium.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { NAME, useServer } from './served.js';

useTensorFlow();

describe('the page in a browser', () => {
  beforeEach(({ skip }) => skip(!chromiumPath, 'there is no Chromium on PATH'));
  const served = useServer();
  let browser: Browser;
  beforeAll(async () => {
    if (!chromiumPath) return;
    browser = await chromium.launch({ executablePath: chromiumPath, args: ['--no-sandbox'] });
  });
  afterAll(async () => browser?.close());

  /** Opens the page, and gathers what it complains of and what it asks other places for. */
  async function open(options: { colorScheme?: 'dark' | 'light' } = {}) {
    const page = await browser.newPage(options);
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (
        new URL(request.url()).origin !== new URL(served.server.url).origin &&
        !request.url().startsWith('data:')
      )
        complaints.push(`asked for ${request.url()}`);
    });
    await page.goto(served.server.url);
    return { page, complaints };
  }

  const textOf = async (page: Page, id: string) => (await page.locator(`#${id}`).textContent())!;
  const done = (page: Page, text = 'Done.') => page.locator(`#status:text-is("${text}")`).waitFor();

  test('answers by the base model and by SDA, side by side, shaded by what the rule says', async () => {
    const { page, complaints } = await open();
    expect(await page.locator('#model').textContent()).toBe(NAME);
    await page.locator('#query').fill('Hello');
    await page.locator('#max_tokens').fill('12');
    await page.locator('[name="amplification"]').fill('0.5');
    await page.locator('#query').press('Control+Enter');
    await done(page);
    const ask = (sda: object | false, more: object) =>
      served.client.chat.completions.create({
        model: NAME,
        messages: [{ role: 'user', content: 'Hello' }],
        max_tokens: 12,
        seed: 1,
        ...more,
        ...({ sda } as object),
      });
    const aligned = await ask({ core: 'empathy', settings: { amplification: 0.5 } }, {});
    const base = await ask(false, { temperature: 0.6, top_p: 0.95 });
    const content = (answer: typeof base) => answer.choices[0]!.message.content!.trim();
    expect((await textOf(page, 'aligned')).trim()).toBe(content(aligned));
    expect((await textOf(page, 'base')).trim()).toBe(content(base));
    const shades = () =>
      page
        .locator('#aligned span')
        .evaluateAll((spans) => spans.map(({ style }) => style.backgroundColor));
    const byJs = await shades();
    expect(byJs.some((colour) => colour !== '')).toBe(true);
    await page.locator('#shade').selectOption('temperature');
    expect(await shades()).not.toEqual(byJs);
    await page.locator('#shade').selectOption('');
    expect((await shades()).every((colour) => colour === '')).toBe(true);
    expect(await page.locator('#aligned span').first().getAttribute('title')).toMatch(
      /^js [\d.e-]+\ntemperature /,
    );
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('takes other rules with their settings, and says what a server refuses', async () => {
    const { page } = await open();
    await page.locator('#rule').selectOption('cfg');
    expect(await page.locator('#aligned-title').textContent()).toMatch(/guidance/i);
    await page.locator('[name="weight"]').fill('2');
    await page.locator('#query').fill("It's me");
    await page.locator('#copy-command').click();
    expect(await page.locator('#copy-command').getAttribute('data-copied')).toBe(
      "npx sda generate --query 'It'\\''s me' --core empathy --rule cfg --weight 2 --max-tokens 128 --seed 1",
    );
    await page.locator('#copy-code').click();
    expect(await page.locator('#copy-code').getAttribute('data-copied')).toContain(
      '"settings":{"weight":2}',
    );
    await page.locator('#max_tokens').fill('9');
    await page.locator('#go').click();
    await done(page);
    expect((await textOf(page, 'aligned')).length).toBeGreaterThan(0);
    await page.locator('#query').fill(' ');
    await page.locator('#go').click();
    await page.locator('#status.bad').waitFor();
    expect(await page.locator('#status').textContent()).toMatch(/^The query is empty/);
    await page.close();
  });

  test('stops at Escape, has both themes, and can be used by keyboard', async () => {
    const { page, complaints } = await open({ colorScheme: 'dark' });
    const theme = () => page.locator('html').getAttribute('data-theme');
    expect(await theme()).toBe('dark');
    await page.locator('#theme').press('Enter');
    expect(await theme()).toBe('light');
    await page.locator('#query').fill('x'.repeat(100));
    await page.locator('#max_tokens').fill('300');
    await page.locator('#query').press('Control+Enter');
    await page.locator('#stop:enabled').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('#stop:disabled').waitFor({ state: 'attached' });
    expect(await page.locator('#status').textContent()).toMatch(/Stopped|Done/);
    expect(complaints).toEqual([]);
    await page.close();
  });
});
