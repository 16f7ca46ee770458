"""A contract for import-linter: no module imports a private module of another room."""

from importlinter import Contract, ContractCheck, output


class PrivateModules(Contract):
    """A module whose path has a part `_name` is only imported from within the part before it.

    Private modules at the root of the package (`mogp._arrays`, …) serve all rooms.
    """

    def check(self, graph, verbose):  # noqa: ARG002
        found = []
        for imported in sorted(graph.modules):
            parts = imported.split(".")
            first = next((i for i, part in enumerate(parts) if part.startswith("_")), 0)
            if first < 2:  # public, or at the root
                continue
            room = ".".join(parts[:first])
            for importer in sorted(graph.find_modules_that_directly_import(imported)):
                if importer != room and not importer.startswith(f"{room}."):
                    found.append((importer, imported))
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check):
        for importer, imported in check.metadata["found"]:
            output.print_error(f"{importer} imports {imported}", bold=False)
