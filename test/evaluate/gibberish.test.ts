import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gibberishReason } from '../../src/evaluate/gibberish.js';
import { packageRoot } from '../../src/runtime/paths.js';

const PROSE =
  'Green tea tastes best with water that is no longer boiling. Warm the pot, take a spoon of leaves for each cup, and pour the water over them. After two minutes take the leaves out, or the tea turns bitter. The same leaves can be used once more.';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

const RECORDS = Array.from({ length: 30 }, (_, id) => ({
  id,
  name: `ann${id}`,
  age: 20 + ((id * 7) % 50),
  city: ['Paris', 'Rome', 'Oslo'][id % 3],
}));

const TIMES = Array.from({ length: 144 }, (_, i) => [1 + Math.floor(i / 12), 1 + (i % 12)])
  .map(([a, b]) => `${a} x ${b} = ${a! * b!}`)
  .join('\n');

/** Articles in scripts that take three bytes a character, or that put no spaces between words. */
const { texts } = JSON.parse(
  readFileSync(join(packageRoot(), 'test/fixtures/statistics/udhr.json'), 'utf8'),
) as { texts: Record<string, string> };

const GOOD: [string, string][] = [
  ['one word', 'Paris.'],
  ['a number', '42'],
  ['yes', 'Yes.'],
  ['an emoji', '👍'],
  ['emojis', '🎉🎉🎉 🎂'],
  ['prose', PROSE],
  ['the same sentence twice', `${PROSE} ${PROSE}`],
  ['a refusal', "I'm sorry, but I can't help with that."],
  ['laughter', 'Ha ha ha ha!'],
  [
    'code',
    'function add(a, b) {\n  return a + b;\n}\n\nfor (let i = 0; i < 10; i++) {\n  console.log(add(i, i));\n}\n',
  ],
  [
    'a list',
    Array.from({ length: 12 }, (_, i) => `${i + 1}. Item number ${i + 1} of the list`).join('\n'),
  ],
  [
    'a table',
    '| day | plan |\n| --- | --- |\n| Monday | walk |\n| Tuesday | swim |\n| Wednesday | rest |',
  ],
  [
    'a long table',
    `| n | square |\n| --- | --- |\n${Array.from({ length: 30 }, (_, i) => `| ${i} | ${i * i} |`).join('\n')}`,
  ],
  ['maths', '∫₀¹ x² dx = 1/3, since d/dx (x³/3) = x²; ∑ 1/n² = π²/6.'],
  ['formulas alone', '(a + b)² = a² + 2·a·b + b² ⇒ a·b = ((a + b)² - a² - b²) / 2'],
  ['a sum', '∑'],
  ['a mark', '✓'],
  ['a sign', '<'],
  ['a flag', '🇫🇷'],
  ['stars', '★★★★☆'],
  ['an empty list', '[]'],
  ['a regular expression', '^(?:[a-z0-9!#$%&*+/=?^_`{|}~-]+(?:\\.[a-z0-9!#$%&*+/=?^_`{|}~-]+)*)$'],
  [
    'a formula without spaces',
    '$$\\int_{-\\infty}^{\\infty}e^{-x^2}dx=\\sqrt{\\pi},\\quad\\sum_{n=1}^{\\infty}\\frac{1}{n^2}=\\frac{\\pi^2}{6},\\quad\\prod_{p}\\frac{1}{1-p^{-s}}=\\zeta(s)$$',
  ],
  ['a large number', `1${'0'.repeat(100)}`],
  ['many digits', `3.${Array.from({ length: 200 }, (_, i) => (i * i * 7 + i) % 10).join('')}`],
  ['numbers without spaces', Array.from({ length: 100 }, (_, i) => i + 1).join(',')],
  ['a matrix', Array.from({ length: 8 }, () => '0 0 0 0 0 0 0 0').join('\n')],
  [
    'an address',
    'https://example.org/watch?v=dQw4w9WgXcQ&list=PLx0sYbCqOb8TBPRdmBHs5Iftvv9TPboYG&index=3&t=42s&utm_source=newsletter&utm_medium=email&utm_campaign=spring',
  ],
  ['a data address', `data:text/plain;base64,${Buffer.from(PROSE).toString('base64')}`],
  ['a protein', 'MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ'.repeat(3)],
  ['records', JSON.stringify(RECORDS, null, 2)],
  ['records without spaces', JSON.stringify(RECORDS)],
  [
    'statements',
    RECORDS.map(
      ({ id, name }) =>
        `INSERT INTO users (id, name, email) VALUES (${id}, '${name}', '${name}@example.com');`,
    ).join('\n'),
  ],
  [
    'a style sheet',
    RECORDS.map(
      ({ id }) =>
        `.box-${id} {\n  padding: 8px;\n  margin: 4px;\n  border-radius: 2px;\n  order: ${id};\n}`,
    ).join('\n\n'),
  ],
  [
    'a table of HTML',
    `<table>\n${RECORDS.map(({ id, city }) => `  <tr>\n    <td>${id}</td>\n    <td>${city}</td>\n  </tr>`).join('\n')}\n</table>`,
  ],
  [
    'a table to fill in',
    `Weekly planner\n| Task | Done |\n|------|------|\n${'|      |      |\n'.repeat(5)}`,
  ],
  ['a line to fill in', `Name: ${'_'.repeat(60)}`],
  ['a rule at the end', `Here you go.\n\n${'-'.repeat(80)}`],
  [
    'a drawn table',
    '┌──────┬──────┐\n│ name │ age  │\n├──────┼──────┤\n│ Ann  │ 31   │\n└──────┴──────┘',
  ],
  [
    'a plan of meals',
    ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday']
      .map(
        (day) =>
          `**${day}:**\n- Breakfast: Oatmeal with fruit\n- Lunch: Grilled chicken salad\n- Dinner: Baked salmon with vegetables`,
      )
      .join('\n\n'),
  ],
  [
    'a song that counts',
    Array.from({ length: 10 }, (_, i) => 10 - i)
      .map(
        (n) =>
          `${n} bottles of beer on the wall, ${n} bottles of beer. Take one down and pass it around, ${n - 1} bottles of beer on the wall.`,
      )
      .join('\n'),
  ],
  [
    'a chorus after each verse',
    [
      'The sun went down behind the hill',
      'A boat came slowly up the stream',
      'The children counted every star',
      'And morning found the garden wet',
    ]
      .map(
        (verse) => `${verse},\nOh carry me, carry me, carry me home,\nOh carry me, carry me home.`,
      )
      .join('\n\n'),
  ],
  [
    'answers by number',
    Array.from({ length: 20 }, (_, i) => `${i + 1}. ${i % 3 === 0 ? 'True' : 'False'}`).join('\n'),
  ],
  ['a multiplication table', TIMES],
  ...Object.entries(texts),
  [
    'Chinese',
    '北京是中国的首都，也是一座历史悠久的城市。这里有故宫、天坛和长城，每年都有很多游客来参观。夏天很热，冬天很冷，春天和秋天最适合旅行。',
  ],
  [
    'Japanese',
    '東京は日本の首都です。電車がとても便利で、食べ物もおいしいです。春には桜がきれいに咲きます。夏は暑いので、水をたくさん飲んでください。',
  ],
  [
    'Thai',
    'กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทยมีวัดสวยงามมากมายและอาหารอร่อยผู้คนเป็นมิตรและยินดีต้อนรับนักท่องเที่ยวจากทั่วโลกเสมอ',
  ],
  [
    'Arabic',
    'القاهرة هي عاصمة مصر وأكبر مدنها، وفيها متاحف كثيرة وأسواق قديمة، ويزورها الناس من كل مكان.',
  ],
  [
    'Korean',
    '서울은 대한민국의 수도이고 한강이 도시를 가로질러 흐릅니다. 봄과 가을에 여행하기 좋습니다.',
  ],
  [
    'a song with a refrain',
    'Row, row, row your boat, gently down the stream,\nmerrily, merrily, merrily, merrily, life is but a dream.\nRow, row, row your boat, gently to the shore,\nmerrily, merrily, merrily, merrily, wait a little more.',
  ],
  ['a line under a heading', `Plan\n${'='.repeat(30)}\n${PROSE}`],
  ['one damaged character', `Caf\uFFFD in the morning. ${PROSE}`],
  ['a long German word', 'Donaudampfschifffahrtsgesellschaftskapitän ist ein langes Wort.'],
];

const BAD: [string, string, string][] = [
  ['nothing', '', 'it has no word'],
  ['spaces', ' \n\t', 'it has no word'],
  ['dots', '......', 'it has no word'],
  ['marks', '!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!', 'it has no word'],
  ['damage', 'a\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFD', 'it has damaged characters'],
  ['control characters', 'ab\u0001\u0002c\u0003d\u0000e', 'it has damaged characters'],
  ['marks with a letter', `a ${'%$#@!&*()'.repeat(8)}`, 'it has hardly a letter'],
  ['sorry', "I'm sorry, ".repeat(20), 'it repeats itself to the end'],
  ['sorry, cut short', `${"I'm sorry, ".repeat(20)}I'm so`, 'it repeats itself to the end'],
  ['one letter', 'a'.repeat(60), 'it repeats itself to the end'],
  ['one word', 'the '.repeat(30), 'it repeats itself to the end'],
  [
    'a sentence',
    'I am a helpful assistant and I will help you. '.repeat(6),
    'it repeats itself to the end',
  ],
  [
    'a loop after a good beginning',
    `${PROSE} ${'And then it is important to remember. '.repeat(8)}`,
    'it repeats itself to the end',
  ],
  ['a long pattern', `${PROSE}\n`.repeat(5), 'it repeats itself to the end'],
  ['Chinese in a loop', '我不知道。'.repeat(20), 'it repeats itself to the end'],
  [
    'a list that says one thing',
    Array.from({ length: 60 }, (_, i) => `${i + 1}. You should be careful.`).join('\n'),
    'it repeats a sentence over and over',
  ],
  [
    'two words in turn',
    `${Array.from({ length: 200 }, (_, i) => (i % 3 === 0 ? 'yes' : 'no')).join(' ')} end of it`,
    'it repeats itself',
  ],
  [
    'a loop before the end',
    `${PROSE.slice(0, 120)} ${'Please note that. '.repeat(40)}That is all.`,
    'it repeats itself',
  ],
  [
    'an address in a loop',
    `https://example.org/${'path/'.repeat(60)}`,
    'it repeats itself to the end',
  ],
  ['empty rows without end', '|   |   |   |   |\n'.repeat(28), 'it repeats itself to the end'],
  [
    'a template that loops',
    `Dear [Landlord's Name],\n\nI am writing about the heater in my room.\n\nSincerely,\n\n${'[Your Title]\n\n'.repeat(40)}[Your Tit`,
    'it repeats itself to the end',
  ],
  ['Thai in a loop', 'สวัสดีครับ'.repeat(20), 'it repeats itself to the end'],
  ['Hindi in a loop', 'नमस्ते '.repeat(30), 'it repeats itself to the end'],
  ['emojis without end', '😊'.repeat(200), 'it repeats itself to the end'],
  ['tags', '<br>'.repeat(60), 'it repeats itself to the end'],
  ['turns of a chat', 'User: Hello\nAssistant: Hello\n'.repeat(12), 'it repeats itself to the end'],
  ['zeros without end', '0 '.repeat(200), 'it repeats itself to the end'],
  ['brackets', '[]'.repeat(60), 'it has no word'],
  ['empty lines with dots', '.\n'.repeat(60), 'it has no word'],
  [
    'steps that are one step',
    Array.from({ length: 30 }, (_, i) => `Step ${i + 1}: Take a deep breath and relax.`).join(' '),
    'it repeats a sentence over and over',
  ],
  [
    'a list in Chinese that says one thing',
    Array.from({ length: 40 }, (_, i) => `${i + 1}. 请保持耐心和善良。`).join('\n'),
    'it repeats a sentence over and over',
  ],
  [
    'a list in Hindi that says one thing',
    Array.from({ length: 40 }, (_, i) => `${i + 1}. कृपया धैर्य रखें और शांत रहें।`).join('\n'),
    'it repeats a sentence over and over',
  ],
  [
    'three words shuffled',
    Array.from(
      { length: 300 },
      (_, i) => ['love', 'care', 'help'][Math.floor(1e6 * Math.abs(Math.sin(i))) % 3],
    ).join(' '),
    'it has a handful of words over and over',
  ],
  [
    'an endless word',
    Array.from(
      { length: 150 },
      (_, i) => LETTERS[Math.floor(1e6 * Math.abs(Math.sin(i))) % 26],
    ).join(''),
    'it is one endless word',
  ],
];

describe('no gibberish', () => {
  test.each(GOOD)('%s', (_, text) => expect(gibberishReason(text)).toBeNull());
});

describe('gibberish', () => {
  test.each(BAD)('%s', (_, text, reason) => expect(gibberishReason(text)).toBe(reason));
});

test('a long text is looked through quickly', () => {
  expect(gibberishReason(`${PROSE} `.repeat(2) + 'x1 y2 '.repeat(20_000))).not.toBeNull();
});
