import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { onTestFinished } from 'vitest';

/** A proxy that leads every host to one port of this machine, until the test ends. */
export interface ProxyServer {
  readonly port: number;
  /** First lines of what it was asked, such as "CONNECT judge.invalid:443" */
  readonly asked: string[];
  /** The authorization that came with each */
  readonly authorizations: (string | undefined)[];
}

/** @param refuse the status that it answers instead */
export async function proxyServer(target: number, refuse?: number): Promise<ProxyServer> {
  const asked: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const note = ({ method, url, headers }: IncomingMessage) => {
    asked.push(`${method} ${url}`);
    authorizations.push(headers['proxy-authorization']);
  };
  const server = createServer((incoming, response) => {
    note(incoming);
    if (refuse !== undefined) {
      response.writeHead(refuse).end();
      return;
    }
    const { pathname } = new URL(incoming.url!);
    const { method, headers } = incoming;
    const onward = request({ port: target, path: pathname, method, headers }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    incoming.pipe(onward);
  });
  server.on('connect', (incoming: IncomingMessage, client: Socket) => {
    note(incoming);
    client.on('error', () => {});
    if (refuse !== undefined) {
      client.end(`HTTP/1.1 ${refuse} No\r\n\r\n`);
      return;
    }
    const onward = connect(target, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(client).pipe(onward);
    });
    onward.on('error', () => client.destroy());
  });
  return { port: await listening(server), asked, authorizations };
}

/** A server that speaks TLS and hands on to a port that does not; its port. */
export async function tlsServer(
  target: number,
  identity: { readonly key: string; readonly cert: string },
): Promise<number> {
  const server = createTlsServer(identity, (client) => {
    const onward = connect(target, '127.0.0.1');
    onward.pipe(client).pipe(onward);
    for (const socket of [client, onward]) socket.on('error', () => {});
  });
  server.on('tlsClientError', () => {});
  return listening(server);
}

/** A port at which nothing listens, and which nobody is given who asks for any. */
export const UNUSED_PORT = 1;

async function listening(server: Server | ReturnType<typeof createTlsServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}
