/**
 * `GET /metrics` for Prometheus, on a loopback address that the configuration names. What it says is no secret and
 * changes nothing; a reader that is slow, silent or many is bounded here and never waited for.
 */
import { createServer, type ServerResponse } from "node:http";
import { type Endpoint, formatEndpoint } from "../core/address.ts";
import { metricsContentType } from "../telemetry/metrics.ts";
import { exitCode, StartError } from "./exit-codes.ts";

export interface MetricsListenerOptions {
  readonly listen: Endpoint;
  readonly render: () => Promise<string>;
  /** A throw out of `render`; the reader gets 500. */
  readonly onError: (error: unknown) => void;
}

export interface MetricsListener {
  /** Where it listens: the port is the system's choice when 0 was asked for. */
  readonly port: number;
  close(): void;
}

/** Throws StartError when the address cannot be listened on. */
export async function openMetricsListener(options: MetricsListenerOptions): Promise<MetricsListener> {
  const { listen, render, onError } = options;
  const server = createServer(
    {
      maxHeaderSize: 8192,
      headersTimeout: slowMs,
      requestTimeout: slowMs,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      request.resume();
      const path = request.url?.split("?", 1)[0];
      if (path !== "/metrics") return answer(response, 404, "only /metrics is here\n");
      if (request.method !== "GET" && request.method !== "HEAD") return answer(response, 405, "GET only\n");
      render().then(
        (text) => {
          response.setHeader("Content-Type", metricsContentType);
          answer(response, 200, request.method === "HEAD" ? "" : text);
        },
        (error) => {
          onError(error);
          answer(response, 500, "the daemon failed to answer; its log says why\n");
        },
      );
    },
  );
  server.maxConnections = maxReaders;
  // Also bounds how long an answer may wait for its reader.
  server.setTimeout(slowMs, (socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(unusable(listen, error)));
    server.listen({ host: `${listen.address}`, port: listen.port }, resolve);
  });
  server.on("error", onError);
  const bound = server.address();
  return {
    port: bound !== null && typeof bound === "object" ? bound.port : listen.port,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  response.end(text);
}

function unusable(listen: Endpoint, error: Error): StartError {
  return new StartError(
    exitCode.unavailable,
    `gateway.metrics.listen ${formatEndpoint(listen)}: ${error.message}`,
    "choose another port, or remove the key",
  );
}

const slowMs = 10_000;
const maxReaders = 16;
