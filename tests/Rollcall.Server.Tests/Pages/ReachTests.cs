using System.Net;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Routing;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Server.Tests.Pages;

/// <summary>Whoever sees a link or a button may use it: every page is walked by every group, along whatever it offers.</summary>
public sealed class ReachTests(SyncedLibrary library) : Walk(library), IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task A_child_who_helps_at_no_site_yet_is_told_so()
    {
        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync("placeless@library.example", library.District, SecurityGroup.StudentAide, "S01", isOperator: false, "test");
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            await context
                .Memberships.Where(m => m.AccountId == account.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(m => m.SiteAccess, (string?)null));
        }

        using var aide = new Visitor(
            library.Url,
            await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null))
        );
        Assert.Contains("No site is yours yet", await aide.PageAsync("/aide"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_librarian_without_a_site_is_told_so_and_not_that_the_library_is_empty()
    {
        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync("sitelesslibrarian@library.example", library.District, SecurityGroup.Librarian, "S01", isOperator: false, "test");
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            await context
                .Memberships.Where(m => m.AccountId == account.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(m => m.SiteAccess, (string?)null));
        }

        using var librarian = new Visitor(
            library.Url,
            await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null))
        );
        foreach (var path in (string[])["/", "/patrons", "/lists/leavers", "/review"])
        {
            var page = await librarian.PageAsync(path);
            Assert.Contains(Words.NoSiteYet, page, StringComparison.Ordinal);
            Assert.DoesNotContain("There is no site yet", page, StringComparison.Ordinal);
            Assert.DoesNotContain("There are no patrons yet", page, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(SecurityGroup.Patron)]
    [InlineData(SecurityGroup.StudentAide)]
    [InlineData(SecurityGroup.Librarian)]
    [InlineData(SecurityGroup.LibraryAdministrator)]
    [InlineData(SecurityGroup.DistrictAdministrator)]
    public async Task Nobody_is_shown_what_they_may_not_use(SecurityGroup group)
    {
        var integrations = library.Service<IntegrationService>();
        var session = await SessionAsync(group);

        // All that pages can show at once: a sync that goes on, changes that wait, people in Review, a log that is gone.
        var operations = new List<Operation>
        {
            new() { Status = OperationStatus.Waiting, NotBefore = DateTimeOffset.MaxValue.AddYears(-1) },
            new() { Status = OperationStatus.NeedsApproval, Planned = true },
            new()
            {
                Status = OperationStatus.Completed,
                Planned = true,
                Expired = true,
            },
            new() { Status = OperationStatus.Failed, Error = "The roster did not answer." },
        };
        var site = (await library.Service<Rollcall.Districts.SiteService>().ListAsync(library.District.Id)).First(s => s.Code == "S01").Id;
        var patron = (
            await library
                .Service<PatronService>()
                .PageAsync(library.District.Id, new PatronFilter(null, site), PatronSort.Name, false, 1, 1)
        ).Patrons[0];
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            foreach (var operation in operations)
            {
                operation.DistrictId = library.District.Id;
                operation.Kind = OperationKind.FullSync;
                operation.Integration = IntegrationKind.ClassLink;
                operation.RequestedBy = "test";
                operation.CreatedAt = TimeProvider.System.GetUtcNow();
                context.Operations.Add(operation);
                await context.SaveChangesAsync();
                context.Changes.Add(
                    new Change
                    {
                        DistrictId = library.District.Id,
                        OperationId = operation.Id,
                        Number = 1,
                        PatronId = patron.Id,
                        SiteId = site,
                        Kind = ChangeKind.Transfer,
                        Outcome = Outcome.Absent,
                        Held = operation.Status == OperationStatus.NeedsApproval,
                    }
                );
            }

            foreach (var (id, status) in new[] { (9001, ReviewStatus.Open), (9002, ReviewStatus.Ignored) })
            {
                context.ReviewItems.Add(
                    new ReviewItem
                    {
                        DistrictId = library.District.Id,
                        Id = id,
                        RosterId = $"reach-{id}",
                        RoleGroup = RoleGroup.Student,
                        Status = status,
                        Reason = "test",
                        Values = $$"""{"{{PatronFields.LastName}}":[null,"Reach"],"{{PatronFields.Site}}":[null,"{{site}}"]}""",
                        Candidates = $"[{patron.Id}]",
                        DecidedBy = status == ReviewStatus.Open ? null : "test",
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        try
        {
            await WalkAsync(group, session);

            // Without a roster service pages say other things.
            await integrations.TurnOffAsync(library.District.Id, IntegrationKind.ClassLink, "test");
            await WalkAsync(group, session);
        }
        finally
        {
            await integrations.TurnOnAsync(library.District.Id, IntegrationKind.ClassLink, clear: true, "test");
            var ids = operations.ConvertAll(o => o.Id);
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            await context.Changes.Where(c => ids.Contains(c.OperationId)).ExecuteDeleteAsync();
            await context.Operations.Where(o => ids.Contains(o.Id)).ExecuteDeleteAsync();
            await context.ReviewItems.Where(r => r.Id > 9000).ExecuteDeleteAsync();
        }
    }
}

/// <summary>The same where there is nothing yet, and pages say what to do first.</summary>
public sealed class ReachFirstTests(EmptyLibrary library) : Walk(library), IClassFixture<EmptyLibrary>
{
    [Fact]
    public async Task Nobody_is_sent_where_they_may_not_begin()
    {
        await library.AddDistrictAsync();
        foreach (var group in new[] { SecurityGroup.LibraryAdministrator, SecurityGroup.DistrictAdministrator })
        {
            await WalkAsync(group, await SessionAsync(group));
        }

        await library
            .Service<Rollcall.Districts.SiteService>()
            .AddAsync(library.District.Id, "S01", new Rollcall.Districts.SiteChange("One", null, null, null, null), "test");
        foreach (var group in new[] { SecurityGroup.Librarian, SecurityGroup.LibraryAdministrator, SecurityGroup.DistrictAdministrator })
        {
            await WalkAsync(group, await SessionAsync(group));
        }
    }
}

public abstract partial class Walk(Library library)
{
    private PageRoutes? _pages;

    /// <summary>Somebody of this group and no more: no operator.</summary>
    internal async Task<string> SessionAsync(SecurityGroup group)
    {
        if (group == SecurityGroup.Patron)
        {
            var patron = (
                await library
                    .Service<PatronService>()
                    .PageAsync(
                        library.District.Id,
                        new PatronFilter
                        {
                            Linked = true,
                            RoleGroup = RoleGroup.Student,
                            Status = PatronStatus.Active,
                        },
                        PatronSort.Barcode,
                        false,
                        2,
                        1
                    )
            ).Patrons[0];
            return await library
                .Service<Sessions>()
                .OpenAsync(patron.DistrictId, patron.Id, SignInMethod.Link, null, new Device("test", null));
        }

        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync(
                $"reach-{group}@library.example",
                library.District,
                group,
                group is SecurityGroup.Librarian or SecurityGroup.StudentAide ? "S01" : null,
                isOperator: false,
                "test"
            );
        return await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null));
    }

    /// <summary>Follows what pages offer, a few of each kind, and looks up what their buttons need.</summary>
    internal async Task WalkAsync(SecurityGroup group, string session)
    {
        using var visitor = new Visitor(library.Url, session);
        var closed = new List<string>();
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        var todo = new Queue<(string Path, string From)>([("/", "the address bar")]);
        while (todo.TryDequeue(out var next))
        {
            var (status, body, response) = await visitor.GetAsync(next.Path);
            if (status == HttpStatusCode.Redirect)
            {
                Offer(response.Headers.Location!.ToString(), next.Path);
                continue;
            }

            if (status != HttpStatusCode.OK)
            {
                closed.Add($"{next.From} leads to {next.Path}: {(int)status}");
                continue;
            }

            if (response.Content.Headers.ContentType?.MediaType != "text/html")
            {
                continue;
            }

            foreach (Match link in Anchor().Matches(body))
            {
                Offer(WebUtility.HtmlDecode(link.Groups["href"].Value), next.Path);
            }

            foreach (Match form in Form().Matches(body))
            {
                var action = Attribute(form.Groups["form"].Value, "action") ?? next.Path;
                var post = Attribute(form.Groups["form"].Value, "method") == "post";
                foreach (Match button in Button().Matches(form.Groups["inside"].Value))
                {
                    var to = Attribute(button.Value, "formaction") ?? action;
                    if (RouteOf(to, post) is { } route && !May(Access.Of(route)))
                    {
                        closed.Add($"{next.Path} has a button for {route}");
                    }
                }
            }
        }

        Assert.True(closed.Count == 0, $"{group}:\n{string.Join('\n', closed.Distinct().Take(40))}");
        Assert.True(seen.Count > (group <= SecurityGroup.StudentAide ? 1 : 6), $"{group} saw only {string.Join(", ", seen.Keys)}");

        void Offer(string href, string from)
        {
            if (!href.StartsWith('/'))
            {
                return;
            }

            var path = href.Split('#')[0];
            var parts = path.Split('?', 2);
            var kind = $"{RouteOf(path, post: false) ?? parts[0]} {(parts.Length > 1 ? Value().Replace(parts[1], "") : "")}";
            var times = seen.GetValueOrDefault(kind);
            seen[kind] = times + 1;
            if (times < (kind.StartsWith("/Operation ", StringComparison.Ordinal) ? 8 : 2))
            {
                todo.Enqueue((path, from));
            }
        }

        bool May(Need? need) =>
            need switch
            {
                Need.Anyone or Need.SignedIn => true,
                Need.Operator or null => false,
                { } least => Access.Group(least) <= group,
            };
    }

    /// <summary>The route that an address leads to; null where it is no page.</summary>
    private string? RouteOf(string address, bool post)
    {
        _pages ??= new PageRoutes(library);
        var parts = address.Split('?', 2);
        var page = _pages.PageOf(parts[0]);
        var handler = parts.Length > 1 && Handler().Match(parts[1]) is { Success: true } asked ? asked.Groups["handler"].Value : "";
        return page is null ? null : $"{page} {(post ? "Post" : "Get")}{handler}";
    }

    private static string? Attribute(string tag, string name) =>
        Regex.Match(tag, $"\\s{name}=\"(?<value>[^\"]*)\"", RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1))
            is { Success: true } match
            ? WebUtility.HtmlDecode(match.Groups["value"].Value)
            : null;

    [GeneratedRegex("<a [^>]*href=\"(?<href>[^\"]*)\"", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Anchor();

    [GeneratedRegex("(?<form><form[^>]*>)(?<inside>.*?)</form>", RegexOptions.ExplicitCapture | RegexOptions.Singleline, 1000)]
    private static partial Regex Form();

    [GeneratedRegex("<button [^>]*type=\"submit\"[^>]*>", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Button();

    [GeneratedRegex("=[^&]*", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Value();

    [GeneratedRegex("(^|&)handler=(?<handler>[A-Za-z]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Handler();
}
