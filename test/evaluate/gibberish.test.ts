import { describe, expect, test } from 'vitest';
import { gibberishReason } from '../../src/evaluate/gibberish.js';

const PROSE =
  'Green tea tastes best with water that is no longer boiling. Warm the pot, take a spoon of leaves for each cup, and pour the water over them. After two minutes take the leaves out, or the tea turns bitter. The same leaves can be used once more.';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

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
  ['an address', `See https://example.org/${'path/'.repeat(30)}page for more.`],
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
    'it repeats itself',
  ],
  [
    'two words in turn',
    `${Array.from({ length: 200 }, (_, i) => (i % 3 === 0 ? 'yes' : 'no')).join(' ')} end of it`,
    'it repeats itself',
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
