using Rollcall.Districts;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The pages of the Grade Table and the policies.</summary>
public sealed class GradePageTests(SyncedLibrary library) : GradePages(library), IClassFixture<SyncedLibrary>;

/// <summary>The same on PostgreSQL, where every page works under row-level security.</summary>
public sealed class GradePageOnPostgresTests(PostgresLibrary library) : GradePages(library), IClassFixture<PostgresLibrary>;

public abstract class GradePages(SyncedLibrary library)
{
    [Fact]
    public async Task The_order_of_grades_is_saved_and_two_windows_keep_each_others()
    {
        using var visitor = new Visitor(library.Url);
        const string Address = "/preferences/grades";
        var first = await visitor.PageAsync(Address);
        var present = await library.Service<Rollcall.Patrons.PatronService>().LevelsAsync(library.District.Id);
        Assert.True(present.Count > 2);
        Assert.All(present, level => Assert.Contains(level, first, StringComparison.Ordinal));

        // The last first: lists and the filter go by it at once.
        var last = GradeTable.Sort(present, [])[^1];
        Assert.Equal(Address, await visitor.SubmitAsync(Address, Address, ("lines", $"{last}\r\n\r\n {present[0]}\r\n"), ("was", "")));
        var list = await visitor.PageAsync("/patrons?sort=grade");
        Assert.True(
            list.IndexOf($"<option value=\"{last}\"", StringComparison.Ordinal)
                < list.IndexOf($"<option value=\"{present[0]}\"", StringComparison.Ordinal)
        );
        Assert.Contains("does not name", await visitor.PageAsync(Address), StringComparison.Ordinal);

        // Another window that was opened before: nothing is lost of either.
        var refused = await visitor.RefusedAsync(Address, Address, ("lines", "mine"), ("was", ""));
        Assert.Contains("Somebody changed the Grade Table", refused, StringComparison.Ordinal);
        Assert.Contains(">mine</textarea>", refused.Replace("\n", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains($"The order is now: {last}, {present[0]}.", refused, StringComparison.Ordinal);
        Assert.Contains("data-unsaved=\"typed\"", refused, StringComparison.Ordinal);
        Assert.DoesNotContain("data-unsaved=\"typed\"", first, StringComparison.Ordinal);
        Assert.Equal([last, present[0]], await library.Service<GradeTable>().ListAsync(library.District.Id));
        Assert.Contains(
            "stands twice",
            await visitor.RefusedAsync(Address, Address, ("lines", "a\nA"), ("was", $"{last}\n{present[0]}")),
            StringComparison.Ordinal
        );
        await visitor.SubmitAsync(Address, Address, ("lines", "a"), ("was", $"{last}\n{present[0]}"), ("usual", "true"));
        Assert.Empty(await library.Service<GradeTable>().ListAsync(library.District.Id));
    }

    [Fact]
    public async Task A_policy_is_added_named_and_removed()
    {
        using var visitor = new Visitor(library.Url);
        const string Address = "/preferences/policies";
        Assert.Equal(Address, await visitor.SubmitAsync(Address, Address, ("code", "FAC"), ("name", "Faculty & staff")));
        var page = await visitor.PageAsync(Address);
        Assert.Contains("Faculty &amp; staff", page, StringComparison.Ordinal);
        Assert.Contains("Remove<span class=\"visually-hidden\"> policy FAC", page, StringComparison.Ordinal);
        Assert.DoesNotContain(
            "policy STD</span></button>",
            page.Replace("the name of policy STD", "", StringComparison.Ordinal),
            StringComparison.Ordinal
        );
        var refused = await visitor.RefusedAsync(Address, Address, ("code", "TOOLONG"), ("name", "Typed"), ("add", "yes"));
        Assert.Contains("1 to 4 characters", refused, StringComparison.Ordinal);
        Assert.Contains("value=\"Typed\"", refused, StringComparison.Ordinal);
        Assert.Single(Unsaved(refused));

        // Adding is not naming: a code that there is already keeps its name.
        refused = await visitor.RefusedAsync(Address, Address, ("code", "FAC"), ("name", "Typed"), ("add", "yes"));
        Assert.Contains("There is a policy FAC already: Faculty & staff.", refused, StringComparison.Ordinal);
        Assert.Contains("value=\"Typed\"", refused, StringComparison.Ordinal);
        Assert.Contains("name=\"name\" value=\"Faculty & staff\"", refused, StringComparison.Ordinal);
        Assert.Single(Unsaved(refused));
        refused = await visitor.RefusedAsync(Address, Address, ("code", "FAC"), ("name", new string('x', 101)));
        Assert.Single(Unsaved(refused));
        Assert.Contains($"value=\"{new string('x', 101)}\"", refused, StringComparison.Ordinal);

        // Who names no name, in a script, takes none away; an emptied field does.
        var policies = library.Service<PolicyService>();
        Assert.Equal("Faculty & staff", (await policies.SetAsync(library.District.Id, "FAC", null, "test")).Name);
        await visitor.SubmitAsync(Address, Address, ("code", "FAC"), ("name", ""));
        Assert.Equal("FAC", (await policies.ListAsync(library.District.Id)).Single(p => p.Code == "FAC").Name);
        await visitor.SubmitAsync(Address, Address, ("code", "FAC"), ("name", "Faculty & staff"));
        await visitor.SubmitAsync(Address, $"{Address}?handler=Remove", ("code", "FAC"));
        Assert.DoesNotContain(
            "Faculty",
            (await visitor.PageAsync(Address)).Replace("Policy FAC is removed", "", StringComparison.Ordinal),
            StringComparison.Ordinal
        );
    }

    private static string[] Unsaved(string page) => page.Split("data-unsaved=\"typed\"")[1..];
}
