/**
 * ARCHITECTURE.md, enforced: who may import whom, what pure folders may touch, how long a file may be. Each list
 * below is the rule itself; a folder that is in none of them fails, so a new one has to say where it belongs.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** Imports go down the rows only. Folders of one row never import each other, except below `gateway`. */
const rows: readonly (readonly string[])[] = [
  ["core", "registry"],
  ["wire", "crypto"],
  ["ike/common"],
  ["ike/v1", "ike/v2", "routing", "health", "config"],
  ["gateway"],
  ["dataplane", "telemetry", "api", "store"],
  ["daemon", "cli"],
];

/** Rows 0 to 4 are pure: the state of the protocol, driven by whoever owns clock and sockets. */
const lastPureRow = 4;

/** Packages and built-ins that pure folders may import; everything else is I/O, or belongs above. */
const allowedInPure: Readonly<Record<string, readonly string[]>> = {
  // Diffie-Hellman, HMAC and ciphers are computations, not I/O; Node 20 has no ML-KEM.
  crypto: ["node:crypto", "@noble/post-quantum/ml-kem.js"],
  config: ["zod", "yaml"], // the schema and the positions of its errors
};

/** Globals that read a clock, wait, print or reach outside, and what makes code wait. */
const forbiddenInPure =
  /\b(?:Date|performance|process|setTimeout|setInterval|setImmediate|queueMicrotask|fetch|WebSocket|console|globalThis|require|Promise|async|await)\b|\bMath\s*\.\s*random\b|(?<![\w."])crypto\s*\.\s*(?:getRandomValues|randomUUID|subtle)\b|\bimport\s*[(.]/g;

/** Native folders, lowest first: each includes those before its own row only. */
const nativeRows: readonly (readonly string[])[] = [
  ["tables"],
  ["base"],
  ["crypto", "route", "net"],
  ["esp"],
  ["engine"],
  ["addon"],
];
/** They stand outside the layers: they may include all of them, and none of them includes these. */
const nativeOutside = ["test", "fuzz", "bench", "soak"];
/** What only one folder may know about. */
const nativeOwned: readonly (readonly [header: RegExp, folder: string])[] = [
  [/^(?:napi|node_api|js_native_api|uv)\.h$/, "addon"],
  [/^(?:intel-ipsec-mb\.h|nettle\/)/, "crypto"],
  [/^(?:libmnl\/|linux\/rtnetlink\.h|linux\/if_tun\.h)/, "net"],
];
/** These build and run with no Node and no sockets. */
const nativeWithoutIo = ["tables", "crypto", "route", "esp"];
const nativeIo =
  /^(?:sys\/(?:socket|epoll|eventfd|uio|ioctl|stat)|net\/|linux\/|netinet\/|arpa\/|fcntl|unistd|poll|thread|mutex)/;

const repository = dirname(dirname(fileURLToPath(import.meta.url)));
const maxLines = 600;

const sources = filesUnder("src", [".ts"]).map((path) => {
  const text = readFileSync(join(repository, path), "utf8");
  return { path, text, code: withoutTextAndComments(text), folder: folderOf(path) };
});

describe("src/: imports go down the rows", () => {
  it("has source files, and every one of them is in a folder that has a row", () => {
    expect(sources.length).toBeGreaterThan(20);
    expect(sources.filter((s) => rowOf(s.folder) < 0).map((s) => s.path)).toEqual([]);
  });

  it("imports nothing from the same row or a higher one", () => {
    const wrong: string[] = [];
    for (const { path, text, folder } of sources) {
      for (const specifier of importsOf(text).filter((s) => s.startsWith("."))) {
        const target = join(dirname(path), specifier);
        const to = folderOf(target);
        if (to !== folder && !(rowOf(to) >= 0 && rowOf(to) < rowOf(folder)))
          wrong.push(`${path} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("names the file that it imports, with its extension", () => {
    const wrong = sources.flatMap(({ path, text }) =>
      importsOf(text)
        .filter((specifier) => specifier.startsWith(".") && !specifier.endsWith(".ts"))
        .map((specifier) => `${path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe("src/: rows 0 to 4 are pure", () => {
  const pure = sources.filter((s) => rowOf(s.folder) <= lastPureRow);

  it("imports no built-in and no package that is not listed here", () => {
    const wrong = pure.flatMap(({ path, text, folder }) =>
      importsOf(text)
        .filter((specifier) => !specifier.startsWith(".") && !allowedInPure[folder]?.includes(specifier))
        .map((specifier) => `${path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it("reads no clock, arms no timer, never waits and never prints", () => {
    const wrong = pure.flatMap(({ path, code }) =>
      [...code.matchAll(forbiddenInPure)].map(
        (match) => `${path}:${lineOf(code, match.index)} uses ${match[0]}`,
      ),
    );
    expect(wrong).toEqual([]);
  });
});

describe("src/: node:crypto", () => {
  it("is imported by src/crypto only", () => {
    const users = sources.filter(({ text }) => importsOf(text).includes("node:crypto"));
    expect(users.length).toBeGreaterThan(0);
    expect(users.filter(({ folder }) => folder !== "crypto").map(({ path }) => path)).toEqual([]);
  });
});

describe("native/: includes go down the layers", () => {
  const natives = filesUnder("native", [".h", ".cc", ".def"]).map((path) => ({
    path,
    folder: path.split("/")[1]!,
    includes: includesOf(readFileSync(join(repository, path), "utf8")),
  }));
  const inside = natives.filter(({ folder }) => !nativeOutside.includes(folder));
  const nativeRow = (folder: string) => nativeRows.findIndex((row) => row.includes(folder));

  it("has sources, and every one of them is in a folder that has a layer", () => {
    expect(inside.length).toBeGreaterThan(10);
    expect(inside.filter(({ folder }) => nativeRow(folder) < 0).map(({ path }) => path)).toEqual([]);
  });

  it("includes nothing from the same layer's other folders or from above", () => {
    const wrong = inside.flatMap(({ path, folder, includes }) =>
      includes
        .filter(({ quoted }) => quoted)
        .filter(({ header }) => {
          const to = header.split("/")[0]!;
          return to !== folder && !(nativeRow(to) >= 0 && nativeRow(to) < nativeRow(folder));
        })
        .map(({ header }) => `${path} includes ${header}`),
    );
    expect(wrong).toEqual([]);
  });

  it("keeps Node, the crypto libraries and the kernel's interfaces in the folders that own them", () => {
    const wrong = inside.flatMap(({ path, folder, includes }) =>
      includes
        .filter(({ header }) =>
          nativeOwned.some(([pattern, owner]) => pattern.test(header) && owner !== folder),
        )
        .map(({ header }) => `${path} includes ${header}`),
    );
    expect(wrong).toEqual([]);
  });

  it("builds transforms, ciphers and lookups without sockets, files or threads", () => {
    const wrong = inside
      .filter(({ folder }) => nativeWithoutIo.includes(folder))
      .flatMap(({ path, includes }) =>
        includes
          .filter(({ header, quoted }) => !quoted && nativeIo.test(header))
          .map(({ header }) => `${path} includes ${header}`),
      );
    expect(wrong).toEqual([]);
  });

  it("says in the first line of each header who may touch it", () => {
    const wrong = inside
      .filter(({ path }) => path.endsWith(".h"))
      .filter(({ path }) => !readFileSync(join(repository, path), "utf8").startsWith("// Thread: "))
      .map(({ path }) => path);
    expect(wrong).toEqual([]);
  });
});

describe("every file that we write", () => {
  const written = ["src", "native", "test", "scripts", "bench", "demo", "testbed"]
    .flatMap((folder) => filesUnder(folder, [".ts", ".mjs", ".h", ".cc", ".def", ".sh"]))
    .filter((path) => !path.startsWith("test/vectors/"))
    .map((path) => ({ path, text: readFileSync(join(repository, path), "utf8") }));

  it(`has at most ${maxLines} lines`, () => {
    const long = written
      .map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
      .filter(({ lines }) => lines > maxLines)
      .map(({ path, lines }) => `${path} has ${lines}`);
    expect(long).toEqual([]);
  });

  it("is finished: no note says what is still to be done", () => {
    // Spelled apart, so that this file does not find itself.
    const note = new RegExp(`\\b(?:${["TO" + "DO", "FIX" + "ME", "X" + "XX"].join("|")})\\b`);
    const wrong = written.flatMap(({ path, text }) =>
      text
        .split("\n")
        .map((line, i) => ({ line, at: `${path}:${i + 1}` }))
        .filter(({ line }) => note.test(line))
        .map(({ at }) => at),
    );
    expect(wrong).toEqual([]);
  });
});

describe("the rules themselves", () => {
  it("see through comments, strings and templates, and not through code", () => {
    const code = withoutTextAndComments(
      [
        "// await a",
        "/* Date.now() */ const a = 'await'; const b = \"process.env\";",
        ["const c = `console $", "{`$", "{Date.now()}`} await`;"].join(""),
        "const d = /['\"`]/.test(x) ? setTimeout : 1 / 2; // fetch",
      ].join("\n"),
    );
    expect([...code.matchAll(forbiddenInPure)].map((m) => m[0])).toEqual(["Date", "setTimeout"]);
    expect(code.split("\n").length).toBe(4);
  });

  it("find every way to import", () => {
    const text = `
      import a from "./a.ts";
      import type { B } from "./b.ts";
      import {
        c,
        type D,
      } from "../c.ts";
      export * from "./e.ts";
      export { f } from "./f.ts";
      import "./g.ts"; import { i } from "./i.ts";
      const h = await import("./h.ts");
      // import x from "./comment.ts";
    `;
    expect(importsOf(text)).toEqual([
      "./a.ts",
      "./b.ts",
      "../c.ts",
      "./e.ts",
      "./f.ts",
      "./g.ts",
      "./i.ts",
      "./h.ts",
    ]);
  });

  it("know rows and folders", () => {
    expect(folderOf("src/ike/v2/exchanges/ike-auth.ts")).toBe("ike/v2");
    expect(folderOf("src/wire/payloads/sa.ts")).toBe("wire");
    expect(rowOf("registry")).toBe(0);
    expect(rowOf("ike")).toBe(-1);
    expect(includesOf('#include "esp/sa.h"\n#include <napi.h>\n// #include "x"\n')).toEqual([
      { header: "esp/sa.h", quoted: true },
      { header: "napi.h", quoted: false },
    ]);
  });
});

/** `core` for `src/core/address.ts`; `ike/v2` for everything below `src/ike/v2`. */
function folderOf(path: string): string {
  const [, first = "", second = ""] = path.split("/");
  return first === "ike" ? `${first}/${second}` : first;
}

function rowOf(folder: string): number {
  return rows.findIndex((row) => row.includes(folder));
}

function filesUnder(folder: string, extensions: readonly string[]): string[] {
  return readdirSync(join(repository, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extensions.some((extension) => entry.name.endsWith(extension)))
    .map((entry) => relative(repository, join(entry.parentPath, entry.name)))
    .filter((path) => !path.includes("node_modules/") && !path.includes("/build/"))
    .sort();
}

function importsOf(text: string): string[] {
  const statement =
    /(?:^|;)\s*(?:import|export)\b[\s\w$*{},]*\bfrom\s*["']([^"']+)["']|(?:^|;)\s*import\s*["']([^"']+)["']|\bimport\s*\(\s*["']([^"']+)["']/gm;
  const uncommented = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  return [...uncommented.matchAll(statement)].map((match) => (match[1] ?? match[2] ?? match[3])!);
}

function includesOf(text: string): { header: string; quoted: boolean }[] {
  return [...text.matchAll(/^\s*#\s*include\s+(["<])([^">]+)[">]/gm)].map((match) => ({
    header: match[2]!,
    quoted: match[1] === '"',
  }));
}

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

/**
 * Code with comments, strings and regular expressions blanked; line numbers stay. What `${}` holds in a template is
 * code again. A slash begins a regular expression where an operand may begin.
 */
function withoutTextAndComments(text: string): string {
  let out = "";
  let at = 0;
  const blank = (length: number) => {
    out += text.slice(at, at + length).replace(/[^\n]/g, " ");
    at += length;
  };
  const blankMatch = (pattern: RegExp) => {
    pattern.lastIndex = at;
    blank(pattern.exec(text)?.[0].length ?? 1);
  };
  // For each open template, how many braces are open inside its current `${`.
  const templates: number[] = [];
  const templateText = () => {
    blankMatch(/(?:\\[\s\S]|\$(?!\{)|[^\\`$])*/y);
    if (text[at] === "`") {
      blank(1);
      templates.pop();
    } else {
      blank(2);
    }
  };
  while (at < text.length) {
    const rest = text.slice(at, at + 2);
    const character = text[at]!;
    if (rest === "//") blankMatch(/\/\/[^\n]*/y);
    else if (rest === "/*") blankMatch(/\/\*[\s\S]*?\*\//y);
    else if (character === '"') blankMatch(/"(?:\\.|[^"\\\n])*"/y);
    else if (character === "'") blankMatch(/'(?:\\.|[^'\\\n])*'/y);
    else if (character === "/" && /(?:^|[(,=:[!&|?{};>+\-*%~^]|\breturn|\btypeof)\s*$/.test(out.trimEnd()))
      blankMatch(/\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n])+\/[a-z]*/y);
    else if (character === "`") {
      blank(1);
      templates.push(0);
      templateText();
    } else if (templates.length > 0 && character === "}" && templates.at(-1) === 0) {
      blank(1);
      templateText();
    } else {
      if (templates.length > 0 && character === "{") templates[templates.length - 1]! += 1;
      if (templates.length > 0 && character === "}") templates[templates.length - 1]! -= 1;
      out += character;
      at++;
    }
  }
  return out;
}
