import { join } from 'node:path';
import { expect, it } from 'vitest';
import { defaultModelDir } from '../../src/runtime/paths.js';
import { createChatTemplate } from '../../src/text/chat-template.js';
import { json } from './files.js';
import { mutateText } from './mutate.js';
import { expectAccepted, fuzz } from './outcome.js';

/** Stands in the place of a file's path. */
const NAME = '/folder/chat_template.jinja';

it('chat templates', async () => {
  const own = (json(join(defaultModelDir(), 'tokenizer_config.json')) as { chat_template: string })
    .chat_template;
  const seeds = [
    own,
    "{% set ns = namespace(x=[]) %}{% macro f(a) %}{{ a | upper | trim }}{% endmacro %}{% for m in messages if m.role != 'system' %}{{ f(m.content) ~ loop.index0 }}{% else %}{{ raise_exception('none') }}{% endfor %}",
  ];
  const pieces = [
    '{%',
    '%}',
    '{{',
    '}}',
    '{#',
    "'",
    '"',
    '|',
    '(',
    ')',
    '[',
    ']',
    '~',
    ' for i in range(99999) ',
    ' endfor ',
    "{% set x = 'ab' %}",
    '{% set x = x ~ x %}',
    '{% set l = [1] %}',
    '{% set l = l + l %}',
    ' messages ',
    '.__proto__',
    '.constructor',
    '[-1]',
    '[::0]',
    ' is defined',
    '| tojson',
    '| join',
    "| replace('', 'aa')",
    '| sort',
    '* 99999',
    '// 0',
    '% 0',
    '** 99',
    '{{ f(f) }}',
    '{% for a in messages %}{% for b in range(9999) %}',
    '{% break %}',
    '{% include "x" %}',
    '{% import "os" %}',
    '\0',
    '\ud800',
    'self',
    '{% call f(1) %}',
    '{% generation %}',
    '{%- if %}',
    '{% macro g(x) %}{{ g(x ~ x) }}{% endmacro %}{{ g(1) }}',
    '{% set x = [x, x] %}',
    '| tojson(indent=99999)',
    '| indent(99999)',
    '| list | length',
    '| map(attribute="role") | list',
    '| selectattr("role", "equalto", "user")',
    '| items',
    '| int + 1e308',
    ".split('')",
    ".replace('', messages | tojson)",
    '{{ strftime_now("%Y%") }}',
    "{{ raise_exception('a\\nb\\x1b[2J') }}",
    '{{ raise_exception(messages) }}',
    '{{ raise_exception() }}',
    '{'.repeat(200),
    '('.repeat(5000),
    '[[[[[[',
    'not '.repeat(3000),
  ];
  const messages = [
    { role: 'system', content: 'Be kind.' },
    { role: 'user', content: 'Hi' },
  ] as const;
  const { accepted } = await fuzz(3000, [NAME], (dice, { lap }) => {
    let source = dice.pick(seeds);
    for (let times = 1 + dice.below(4); times > 0; times--)
      source = mutateText(source, pieces, dice);
    const template = createChatTemplate(source, { origin: NAME, roles: { bos_token: '<s>' } });
    lap();
    expect(template.render(messages)).toBeTypeOf('string');
  });
  expectAccepted(accepted, 100);
});
