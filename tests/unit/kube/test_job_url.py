"""Where the link ``Kubernetes Job`` leads."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job_url import job_url

JOB = JobRef("etl", "script-load-7f3c01a2b9", "uid")


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("https://dashboard.example/#/job/{namespace}/{job_name}", "https://dashboard.example/#/job/etl/script-load-7f3c01a2b9"),
        ("http://grafana.example/d/jobs?var-job={job_name}", "http://grafana.example/d/jobs?var-job=script-load-7f3c01a2b9"),
        ("https://wiki.example/jobs", "https://wiki.example/jobs"),
        ("https://logs.example/q?{{ns}}={namespace}", "https://logs.example/q?{ns}=etl"),
    ],
)  # fmt: skip
def test_names_stand_where_the_template_says(template: str, url: str) -> None:
    """Namespace and name fill their places, doubled braces are braces."""
    assert job_url(template, JOB.namespace, JOB.name) == url


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("https://d.example/{cluster}/{job_name}", r"\{cluster\}; there are \{namespace\} and \{job_name\}"),
        ("https://d.example/{0}", r"\{0\}; there are"),
        ("https://d.example/{job_name.uid}", r"\{job_name\.uid\}; there are"),
        ("https://d.example/{job_name:{namespace}}", r"\{job_name:\{namespace\}\}; there are"),
        ("https://d.example/{job_name!r}", r"\{job_name!r\}; there are"),
        ("https://d.example/{job_name", "is not a valid template"),
        ("javascript:alert('{job_name}')", "must begin with http"),
        ("dashboard.example/{job_name}", "must begin with http"),
    ],
)
def test_a_template_that_leads_nowhere_is_refused(template: str, message: str) -> None:
    """The message names what is wrong; a link is never half filled in."""
    with pytest.raises(ValueError, match=message):
        job_url(template, JOB.namespace, JOB.name)
