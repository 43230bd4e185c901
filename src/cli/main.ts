#!/usr/bin/env node
import { culvertVersion } from "../api/version.ts";
import { terminal } from "./output.ts";
import { runCli } from "./program.ts";

// `culvert log -f | head` closes our stdout: that is the end, not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

process.exitCode = await runCli(process.argv.slice(2), culvertVersion(), terminal);
