import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join, normalize } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import ts from 'typescript';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { chromiumPath } from '../support/chromium.js';
import { PAGES, pageText } from './blocks.js';

const ROOT = packageRoot();
const MODULES = {
  'sda-tfjs': 'src/index.ts',
  'sda-tfjs/experiment': 'src/experiment/index.ts',
  'sda-tfjs/serve': 'src/serve/server.ts',
};
const site = mkdtempSync(join(tmpdir(), 'sda-site-'));

/** Builds the site as `npm run docs:build` does, but into a folder of its own. */
beforeAll(() => {
  const run = (file: string, ...args: string[]) =>
    execFileSync(process.execPath, [join(ROOT, file), ...args], { cwd: ROOT, stdio: 'pipe' });
  const bin = (name: string) => join('node_modules', name, 'bin', name);
  run(bin('typedoc'), '--options', 'docs/typedoc.json', '--logLevel', 'Warn');
  run('docs/errors.mjs');
  run(`${bin('vitepress')}.js`, 'build', 'docs', '--outDir', site); // fails on a dead link
}, 600_000);
afterAll(() => rmSync(site, { recursive: true, force: true }));

const htmlFiles = () =>
  readdirSync(site, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.html'));
const htmlOf = (name: string) => readFileSync(join(site, name), 'utf8');
const idsIn = (html: string) => new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id!));

/** Files below a folder of the repository, by their path in it */
const filesIn = (folder: string, end: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(end))
    .map((name) => join(folder, name));

/** Names that each module exports, by the compiler. */
function exportsByModule(): Map<string, string[]> {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const files = Object.values(MODULES).map((file) => join(ROOT, file));
  const program = ts.createProgram(files, { ...options, noEmit: true });
  const checker = program.getTypeChecker();
  return new Map(
    Object.entries(MODULES).map(([name, file]) => {
      const module = checker.getSymbolAtLocation(program.getSourceFile(join(ROOT, file))!)!;
      return [name, checker.getExportsOfModule(module).map((symbol) => symbol.name)];
    }),
  );
}

test('every public symbol has a page', () => {
  const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    exports: object;
  };
  expect(Object.keys(exports).map((key) => key.replace('.', 'sda-tfjs'))).toEqual(
    Object.keys(MODULES),
  );
  for (const [name, symbols] of exportsByModule()) {
    expect(symbols.length, name).toBeGreaterThan(2);
    const folder = join('reference', name);
    const pages = htmlFiles().filter((page) => dirname(dirname(page)) === folder);
    const named = new Set(pages.map((page) => basename(page, '.html')));
    expect(symbols.filter((symbol) => !named.has(symbol))).toEqual([]);
  }
});

test('every link leads to a page of the site, and to a place in it', () => {
  const ids = new Map<string, Set<string>>();
  const dead: string[] = [];
  for (const page of htmlFiles()) {
    for (const [, href] of htmlOf(page).matchAll(/<a [^>]*href="([^"]+)"/g)) {
      if (/^[a-z]+:/.test(href!)) continue;
      const [path, hash] = decodeURI(href!).split('#') as [string, string?];
      const target = normalize(
        path === '' ? page : path.startsWith('/') ? path.slice(1) : join(dirname(page), path),
      );
      const file = /\/$|^\.?$/.test(target) ? join(target, 'index.html') : target;
      if (!existsSync(join(site, file))) dead.push(`${page}: ${href}`);
      else if (hash && file.endsWith('.html')) {
        if (!ids.has(file)) ids.set(file, idsIn(htmlOf(file)));
        if (!ids.get(file)!.has(hash)) dead.push(`${page}: ${href}`);
      }
    }
  }
  expect(dead).toEqual([]);
});

test('the sidebar has every page', () => {
  const html = htmlOf('start.html');
  const pages = PAGES.filter((page) => page.startsWith('docs/') && page !== 'docs/index.md');
  for (const page of pages) expect(html).toContain(`href="/${page.slice(5, -3)}.html"`);
});

test('every kind of error has its cause and its remedy, and every message is listed', () => {
  const codes = [
    ...readFileSync(join(ROOT, 'src/errors.ts'), 'utf8').matchAll(/^ {2}\| '([a-z-]+)'/gm),
  ].map(([, code]) => code!);
  expect(codes.length).toBeGreaterThan(10);
  const sections = pageText('docs/errors.md').split(/^## /m).slice(1);
  expect(sections.map((section) => section.split('\n', 1)[0]).sort()).toEqual(codes.sort());
  const page = htmlOf('reference/errors.html');
  const listed = page.slice(page.indexOf('<main'));
  expect(listed).toContain('There is no request in the batch: give at least one.');
  const made = ['src', 'kernels']
    .flatMap((folder) => filesIn(folder, '.ts'))
    .flatMap((file) => readFileSync(join(ROOT, file), 'utf8').match(/new SdaError\(/g) ?? []);
  expect(listed.match(/<li>/g)!.length).toBeGreaterThanOrEqual(made.length);
});

test('links between the files of the repository lead somewhere', () => {
  const folders = ['bench', 'examples', 'kernels', 'test', 'weights'];
  const top = readdirSync(ROOT).filter((name) => name.endsWith('.md'));
  const dead = [...top, ...folders.flatMap((folder) => filesIn(folder, '.md'))].flatMap((file) =>
    [...pageText(file).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
      .map(([, target]) => target!)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => !existsSync(join(ROOT, dirname(file), target)))
      .map((target) => `${file}: ${target}`),
  );
  expect(dead).toEqual([]);
});

describe('in a browser', () => {
  beforeEach(({ skip }) => skip(!chromiumPath, 'there is no Chromium on PATH'));
  let browser: Browser;
  let server: Server;
  let origin: string;
  beforeAll(async () => {
    if (!chromiumPath) return;
    server = createServer(({ url }, response) => {
      const path = decodeURI(new URL(url!, 'http://site').pathname);
      const file = join(site, path.endsWith('/') ? `${path}index.html` : path);
      if (!existsSync(file)) return response.writeHead(404).end();
      const types: Record<string, string> = {
        '.html': 'text/html',
        '.js': 'text/javascript',
        '.css': 'text/css',
        '.svg': 'image/svg+xml',
      };
      const type = types[extname(file)] ?? 'application/octet-stream';
      return response.writeHead(200, { 'content-type': type }).end(readFileSync(file));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await chromium.launch({ executablePath: chromiumPath, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  async function open(path: string, complaints: string[]) {
    const page = await browser.newPage();
    page.on('console', (message) => complaints.push(`${path}: ${message.text()}`));
    page.on('pageerror', (error) => complaints.push(`${path}: ${error.message}`));
    page.on('request', (request) => {
      const there = request.url().startsWith(origin) || request.url().startsWith('data:');
      if (!there) complaints.push(`${path} asks for ${request.url()}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 400) complaints.push(`${path}: ${response.url()} is not there`);
    });
    await page.goto(`${origin}/${path}`, { waitUntil: 'networkidle' });
    return page;
  }

  test('pages load without a word on the console or a request to another host', {
    timeout: 300_000,
  }, async () => {
    const written = PAGES.filter((page) => page.startsWith('docs/')).map(
      (page) => `${page.slice(5, -3)}.html`,
    );
    const others = htmlFiles().filter((page) => page.startsWith('reference'));
    const complaints: string[] = [];
    for (const path of [...written, ...others.filter((_, index) => index % 25 === 0)]) {
      const page = await open(path, complaints);
      expect(await page.locator('main h1').count(), path).toBe(1);
      await page.close();
    }
    expect(complaints).toEqual([]);
  });

  test('the search finds a page, from the site alone', async () => {
    const complaints: string[] = [];
    const page = await open('start.html', complaints);
    await page.locator('.VPNavBarSearch button').first().click();
    await page.locator('#localsearch-input').fill('proxy-tuning');
    await page.locator('#localsearch-list a').first().waitFor();
    const found = await page.locator('#localsearch-list a').first().getAttribute('href');
    expect(found).toMatch(/rules|two-models/);
    expect(complaints).toEqual([]);
    await page.close();
  });
});
