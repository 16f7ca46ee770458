"""What the documentation needs beyond MkDocs and its plugins.

- A page with `include: FILE` in its front matter shows FILE, a path from the repository root.
- TeX becomes MathML while the site is built: reading it takes neither a script nor a network.
- Equinox modules are shown with the constructor that their fields give them; examples are code.
"""

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

# What `pymdownx.arithmatex` writes in generic mode, and the punctuation to keep on its line.
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>([,.;:?!)]*)', re.DOTALL
)
LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")
SRC = re.compile(r'(<img\b[^>]*\bsrc=")docs/')

MATHML = "{http://www.w3.org/1998/Math/MathML}"
# A command that lacks an argument comes back as an element that lacks a child.
CHILDREN = dict.fromkeys(("mfrac", "mroot", "msub", "msup", "munder", "mover"), 2)
CHILDREN |= {"msubsup": 3, "munderover": 3}
GREEK_CAPITALS = [chr(code) for code in range(0x391, 0x3AA)]
UNDER = {"msub": "munder", "msubsup": "munderover"}
THIN = "0.167em"

ElementTree.register_namespace("", MATHML[1:-1])


def on_page_markdown(markdown, page, config, **_):
    """Replace a page that names a file to include by that file, its links made to fit the site."""
    if "include" not in page.meta:
        return markdown
    root = Path(config.config_file_path).parent
    text = (root / page.meta["include"]).read_text(encoding="utf-8")
    return SRC.sub(r"\1", LINK.sub(_site_link, text))


def _site_link(match):
    image, text, target = match.groups()
    if re.match(r"[a-z]+:|#", target):
        return match.group()
    if target.startswith("docs/"):
        return f"{image}[{text}]({target.removeprefix('docs/')})"
    return text  # a file of the repository that has no page here


def on_page_content(content, page, **_):
    """Replace every formula of the page by MathML, or stop the build."""
    return FORMULA.sub(lambda match: _formula(match, page.file.src_uri), content)


def _formula(match, where):
    tag, tex, punctuation = match.groups()
    tex = html.unescape(tex).strip()
    display = "block" if tag == "div" else "inline"
    try:
        root = ElementTree.fromstring(convert(tex, display=display))
        _check(root)
    except Exception as error:  # the converter raises many kinds, all of which mean the same here
        message = f"{where}: cannot convert the formula ${tex}$ to MathML: {error!r}"
        raise PluginError(message) from error
    _polish(root, display)
    mathml = ElementTree.tostring(root, encoding="unicode")
    return f'<{tag} class="formula-{display}">{mathml}{punctuation}</{tag}>'


def _check(root):
    # The converter passes on what it does not know without a word.
    for element in root.iter():
        name, parts = _name(element), len(element)
        if (element.text or "").startswith("\\"):
            raise ValueError(f"unknown command {element.text}")
        if parts != CHILDREN.get(name, parts):
            raise ValueError(f"a command lacks an argument (<{name}> has {parts} parts)")


def _polish(root, display):
    """Set as TeX would what the converter leaves plain."""
    for parent in root.iter():
        if display == "block" and _name(parent) in UNDER and parent[0].text in ("lim", "∑", "∏"):
            parent.tag = MATHML + UNDER[_name(parent)]
        row = [None, *parent, None]
        for before, child, after in zip(row, row[1:], row[2:], strict=False):
            text = child.text or ""
            if _name(child) not in ("mi", "mo"):
                continue
            if text in GREEK_CAPITALS:
                child.set("mathvariant", "normal")
            elif text in ("∞", "…"):
                child.tag = MATHML + "mi"
            elif text == "~":
                child.tag, child.text = MATHML + "mo", "\N{TILDE OPERATOR}"
            elif text in ("|", "‖", "/"):
                _space(child, "0", "0")
                child.attrib.setdefault("stretchy", "false")
            elif len(text) > 1 and text.isalpha():  # a named function
                child.tag = MATHML + "mo"
                leads = before is None or (
                    _name(before) in ("mo", "mspace") and before.text not in (")", "]")
                )
                closes = after is None or "".join(after.itertext())[:1] in ("(", "[")
                _space(child, "0" if leads else THIN, "0" if closes else THIN)


def _space(operator, left, right):
    operator.set("lspace", left)
    operator.set("rspace", right)


def _name(element):
    return element.tag.removeprefix(MATHML)


class House(griffe.Extension):
    """Griffe extension: what reading the source alone does not tell.

    Equinox modules get the `__init__` that Equinox writes for them: they are dataclasses, but only
    their base class says so. A section `Example:` is read as `Examples:`, the name Griffe knows.
    """

    def on_package(self, *, pkg, **_):
        """Visit all that a package holds once it is loaded."""
        for member in list(pkg.members.values()):
            if member.is_alias:
                continue
            if member.docstring:
                text = member.docstring.value
                member.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", text)
            if member.is_class and _is_equinox(member) and not _has_own_constructor(member):
                _set_constructor(member)
            if member.is_module or member.is_class:
                self.on_package(pkg=member)


def _is_equinox(cls):
    bases = [base for kind in (cls, *cls.mro()) for base in kind.bases]
    return any(getattr(base, "canonical_path", "").startswith("equinox.") for base in bases)


def _has_own_constructor(cls):
    init = cls.all_members.get("__init__")
    return init is not None and "from fields" not in init.labels


def _set_constructor(cls):
    keyword_only = griffe.ParameterKind.keyword_only
    positional = griffe.ParameterKind.positional_or_keyword
    parameters = {}
    for owner in (*reversed(cls.mro()), cls):
        kind = positional
        for field in owner.attributes.values():
            if getattr(field.annotation, "canonical_path", "") == "dataclasses.KW_ONLY":
                kind = keyword_only
            elif "property" in field.labels:
                parameters.pop(field.name, None)
            elif field.annotation is not None and "instance-attribute" in field.labels:
                default, options = field.value, {}
                if isinstance(default, griffe.ExprCall) and str(default.function).endswith("field"):
                    options = {str(option.name): option.value for option in default.arguments}
                    default = options.get("default", options.get("default_factory"))
                abstract = "Abstract" in str(field.annotation)
                if not abstract and str(options.get("init")) != "False":
                    parameters[field.name] = griffe.Parameter(
                        field.name, annotation=field.annotation, kind=kind, default=default
                    )
    ordered = sorted(parameters.values(), key=lambda parameter: parameter.kind is keyword_only)
    receiver = griffe.Parameter("self", kind=positional)
    init = griffe.Function("__init__", parameters=griffe.Parameters(receiver, *ordered), parent=cls)
    init.labels.add("from fields")
    cls.set_member("__init__", init)
