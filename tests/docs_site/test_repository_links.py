"""Links that hold on GitHub and on the site."""

import pytest

from scripts.docs_site.repository_links import linked_outside, with_links_of_site


@pytest.mark.parametrize(
    ("page", "link", "on_site"),
    [
        ("docs/index.md", "tutorial.md#a", "tutorial.md#a"),
        ("docs/index.md", "../CONTRIBUTING.md", "repository/CONTRIBUTING.md"),
        ("docs/how-to/gpu.md", "../../configs/a.yaml", "../repository/configs/a.yaml"),
        ("CONTRIBUTING.md", "docs/performance/gpu.md#b", "../performance/gpu.md#b"),
        ("CONTRIBUTING.md", "SECURITY.md", "SECURITY.md"),
        ("docs/index.md", "#here", "#here"),
        ("docs/index.md", "https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_links_lead_to_the_same_file(page, link, on_site):
    text = "a [link]({0}), [`code`]({0}),\n```\n[no link]({1})\n```\n![image [1]]({0})"
    assert with_links_of_site(text.format(link, link), page) == text.format(on_site, link)


def test_files_outside_are_found_with_what_they_link_to(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("[b](../B.md) [gone](../gone.md) [c](c.md)")
    (tmp_path / "B.md").write_text("[yaml](x.yaml) [a](docs/a.md)")
    (tmp_path / "x.yaml").touch()
    assert linked_outside(["docs/a.md"], tmp_path) == ["B.md", "x.yaml"]
