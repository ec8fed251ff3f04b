import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findDuplicateKey, listSome, parseJson } from '../../src/checkpoint/json-file.js';

describe('findDuplicateKey', () => {
  it.each([
    ['{"a":1,"a":2}', 'a'],
    ['{"a":{"b":1,"c":[{"b":1,"b":2}]}}', 'b'],
    ['{"a":1,"\\u0061":2}', 'a'],
    ['{"x\\"":1,"x\\"":2}', 'x"'],
    ['{"__proto__":1,"__proto__":2}', '__proto__'],
    ['{"\\\\":1,"a":"\\\\","\\\\":3}', '\\'],
    ['{"a":[1,{"a":1}],"b":{"a":1}}', null],
    ['{"a":"b","b":"a","c":["a","a"]}', null],
    ['["a","a"]', null],
    ['{}', null],
  ])('%s -> %s', (json, expected) => {
    expect(() => JSON.parse(json)).not.toThrow();
    expect(findDuplicateKey(json)).toBe(expected);
  });

  it('finds none in what JSON.stringify writes, and one after an object got a key again', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.json()), fc.string(), (object, key) => {
        const members = Object.entries(object).map(
          ([name, value]) => `${JSON.stringify(name)}:${value}`,
        );
        expect(findDuplicateKey(`{${members.join(',')}}`)).toBe(null);
        const added = [`${JSON.stringify(key)}:1`, ...members, `${JSON.stringify(key)}:2`];
        expect(findDuplicateKey(`{${added.join(' , ')}}`)).not.toBe(null);
      }),
    );
  });
});

describe('parseJson', () => {
  it('names the file and the key', () => {
    expect(() => parseJson('{"eos":1,"eos":2}', 'config.json', 'bad-config')).toThrow(
      'config.json has the key "eos" twice',
    );
    const nested = (depth: number) => `{"a":"[[","b":${'['.repeat(depth)}${']'.repeat(depth)}}`;
    expect(parseJson(nested(199), 'config.json', 'bad-config')).toBeTypeOf('object');
    expect(() => parseJson(nested(200), 'config.json', 'bad-config')).toThrow('more than 200 deep');
    expect(() => parseJson('{', 'config.json', 'bad-config')).toThrow('config.json is not valid');
  });

  it('keeps a message on one line, without control characters', () => {
    const messages = ['{"a":\n\n\tx}', '{"\\u001b[2J\\u202e\\n":1,"\\u001b[2J\\u202e\\n":2}'].map(
      (text) => {
        try {
          return parseJson(text, 'config.json', 'bad-config');
        } catch (error) {
          return (error as Error).message;
        }
      },
    );
    for (const message of messages) expect(message).toMatch(/^config\.json [^\p{Cc}\u202e]+\.$/u);
  });
});

describe('listSome', () => {
  it('gives names that a terminal shows as they are', () => {
    expect(listSome(['a\u001b[31m', 'b\n', 'c'], 2)).toBe('a\\u001b[31m, b\\u000a and 1 more');
  });
});
