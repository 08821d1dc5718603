// Parsed Markdown as elements. Text is only ever given to the browser as text.
import { type ComponentChildren, Fragment, h, type JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { Icon } from "../parts/icon.tsx";
import { type Block, parseMarkdown } from "./blocks.ts";
import type { Inline } from "./inline.ts";

export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // plain http on another machine has no clipboard interface
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () =>
    void copyText(text).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    });
  return (
    <button type="button" class="icon-button" aria-label={copied ? "Copied" : label} title={label} onClick={copy}>
      <Icon name={copied ? "done" : "copy"} />
    </button>
  );
}

function inline(nodes: Inline[]): ComponentChildren {
  return nodes.map((node, key) => {
    switch (node.kind) {
      case "text":
        return node.text;
      case "code":
        return <code key={key}>{node.text}</code>;
      case "break":
        return <br key={key} />;
      case "link":
        return (
          <a key={key} href={node.href} target="_blank" rel="noopener noreferrer nofollow">
            {inline(node.children)}
          </a>
        );
      default:
        return h(node.kind, { key }, inline(node.children));
    }
  });
}

function CodeBlock({ language, text }: { language: string; text: string }) {
  return (
    <div class="code-block">
      <div class="code-head">
        <span>{language || "text"}</span>
        <CopyButton text={text} label="Copy code" />
      </div>
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
    </div>
  );
}

function block(node: Block, key: number): JSX.Element {
  switch (node.kind) {
    case "heading":
      return h(`h${Math.min(node.level + 2, 6)}`, { key }, inline(node.children)) as JSX.Element;
    case "paragraph":
      return <p key={key}>{inline(node.children)}</p>;
    case "code":
      return <CodeBlock key={key} language={node.language} text={node.text} />;
    case "quote":
      return <blockquote key={key}>{node.blocks.map(block)}</blockquote>;
    case "rule":
      return <hr key={key} />;
    case "list": {
      const items = node.items.map((one, index) => (
        <li key={index}>
          {one.map((inner, at) =>
            node.tight && inner.kind === "paragraph" ? <Fragment key={at}>{inline(inner.children)}</Fragment> : block(inner, at),
          )}
        </li>
      ));
      return node.ordered ? (
        <ol key={key} start={node.start}>
          {items}
        </ol>
      ) : (
        <ul key={key}>{items}</ul>
      );
    }
    case "table": {
      const cell = (tag: string) => (children: Inline[], column: number) =>
        h(tag, { key: column, class: `align-${node.align[column] ?? "left"}` }, inline(children));
      return (
        <div class="table" key={key} tabIndex={0}>
          <table>
            <thead>
              <tr>{node.head.map(cell("th"))}</tr>
            </thead>
            <tbody>
              {node.rows.map((row, index) => (
                <tr key={index}>{row.map(cell("td"))}</tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    }
  }
}

export function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => parseMarkdown(text), [text]);
  return <div class="markdown">{blocks.map(block)}</div>;
}
