"""How pages that people read look: colours by day and by night, the header, figures, tables.

One rule: what all pages share stands here, and a page adds only what is its own.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme:light dark; --ink:#1d2433; --faint:#667085; --line:#e3e7ee; --card:#fff; --ground:#f6f7f9;
  --pass:#1a7f4b; --fail:#b42318; --cannot_tell:#8a6100; --shade:#1d243318; }
@media (prefers-color-scheme:dark) { :root { --ink:#e6e9f0; --faint:#98a2b3; --line:#2b3242; --card:#171c28;
  --ground:#0f131c; --pass:#4cc38a; --fail:#ff7b6e; --cannot_tell:#e0b252; --shade:#0006; } }
body { font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif; color:var(--ink); background:var(--ground);
  margin:0; }
main { max-width:960px; margin:40px auto; padding:0 24px; }
header,.figure { background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); }
header { border-left:8px solid var(--faint); padding:24px 28px; }
header.pass { border-color:var(--pass); } header.pass em { color:var(--pass); }
header.fail { border-color:var(--fail); } header.fail em { color:var(--fail); }
header.cannot_tell { border-color:var(--cannot_tell); } header.cannot_tell em { color:var(--cannot_tell); }
h1 { font-size:26px; line-height:1.25; margin:0 0 6px; } h1 em { font-style:normal; }
h2 { font-size:17px; margin:32px 0 8px; } p { margin:0; color:var(--faint); }
.figure { padding:16px 20px 8px; margin:12px 0; } .figure h2 { margin:0 0 2px; } .figure p { font-size:14px; }
svg { display:block; width:100%; height:auto; margin-top:10px; font:13px system-ui,sans-serif; }
svg.narrow { display:none; } svg text { fill:var(--ink); } svg .tick { fill:var(--faint); font-size:12px; }
svg .label { paint-order:stroke; stroke:var(--card); stroke-width:4px; }
svg .value { font-variant-numeric:tabular-nums; }
svg .grid { stroke:var(--line); } svg .zero { stroke:var(--faint); stroke-width:1.5; }
svg .bar { stroke-width:5; stroke-linecap:round; opacity:.45; } svg .limit { stroke:var(--ink); stroke-width:2;
  stroke-dasharray:3 2; }
svg .pass .bar { stroke:var(--pass); } svg .fail .bar { stroke:var(--fail); }
svg .cannot_tell .bar { stroke:var(--cannot_tell); }
svg .pass .dot { fill:var(--pass); } svg .fail .dot { fill:var(--fail); }
svg .cannot_tell .dot { fill:var(--cannot_tell); }
.key { font-size:13px; margin:4px 0 0; }
table { border-collapse:collapse; width:100%; }
th,td { text-align:left; padding:10px 16px; border-top:1px solid var(--line); }
tr:first-child th { border-top:0; font-size:13px; color:var(--faint); font-weight:500; }
td.n,th.n { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
td.name { font-weight:600; white-space:nowrap; }
footer { color:var(--faint); font-size:13px; margin:28px 0 60px; overflow-wrap:anywhere; }
@media (max-width:620px) { body { font-size:15px; } main { margin:16px auto; padding:0 12px; } header { padding:16px; }
  h1 { font-size:21px; } .figure { padding:14px 12px 4px; } svg.wide { display:none; } svg.narrow { display:block; } }
"""
