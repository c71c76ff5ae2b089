"""Run the studies and write their evidence: ``python -m calibration``."""

from __future__ import annotations

from pathlib import Path

from calibration import recovery

HERE = Path(__file__).parent


def main() -> None:
    text = recovery.report()
    (HERE / "RECOVERY.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
