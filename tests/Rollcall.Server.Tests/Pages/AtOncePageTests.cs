using System.Net;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Tests.Pages;

/// <summary>Librarians save patrons on pages whom syncs change at the same moment, on both databases.</summary>
public sealed class AtOncePageTests(SyncedLibrary library) : AtOncePages(library), IClassFixture<SyncedLibrary>;

public sealed class PostgresAtOncePageTests(PostgresSignInLibrary library) : AtOncePages(library), IClassFixture<PostgresSignInLibrary>;

public abstract class AtOncePages(Library library)
{
    [Fact]
    public async Task What_is_saved_while_a_sync_changes_the_same_patrons_is_not_lost()
    {
        var students = library.Sandbox.District.People.Where(p => p.Role == "student").Select(p => p.SourcedId).Take(12).ToList();
        var barcodes = new Dictionary<string, string>(StringComparer.Ordinal);
        await foreach (var patron in library.Service<PatronService>().AllAsync(library.District.Id, new PatronFilter()))
        {
            if (patron.Guid is { } guid && students.Contains(guid))
            {
                barcodes[guid] = patron.Barcode;
            }
        }

        Assert.True(barcodes.Count > 5);
        var saved = new Dictionary<string, string>(StringComparer.Ordinal);
        using var librarian = new Visitor(library.Url);
        for (var round = 1; round <= 3; round++)
        {
            foreach (var guid in barcodes.Keys)
            {
                library.Sandbox.Overrides.Change("users", guid, u => (u["phone"], u["givenName"]) = ($"555-0{round}", $"Roster{round}"));
            }

            var syncing = Task.Run(() => library.SyncAsync());
            do
            {
                foreach (var (guid, barcode) in barcodes)
                {
                    var edit = $"/patron/edit?barcode={barcode}";
                    var page = await librarian.PageAsync(edit);
                    var fields = Visitor.FieldsOf(page);
                    var note = $"round {round}, {saved.Count} saved before";
                    Visitor.Put(fields, "notes", note);
                    Visitor.Put(fields, "firstName", $"Hand{round}");
                    using var answer = await librarian.PostAsync(edit, [.. fields, Visitor.TokenOf(page)]);

                    // Saved, or shown again because somebody else changed the same field: never a fault.
                    Assert.Contains(answer.StatusCode, (HttpStatusCode[])[HttpStatusCode.Redirect, HttpStatusCode.OK]);
                    if (answer.StatusCode == HttpStatusCode.Redirect)
                    {
                        saved[guid] = note;
                        continue;
                    }

                    // Whoever is asked again sees what was written meanwhile.
                    var again = WebUtility.HtmlDecode(await answer.Content.ReadAsStringAsync());
                    Assert.Contains("Somebody changed this patron since you opened the page.", again, StringComparison.Ordinal);
                    Assert.True(
                        again.Contains($"Meanwhile somebody wrote “Roster{round}”.", StringComparison.Ordinal),
                        $"Round {round}, opened with {string.Join(", ", Visitor.FieldsOf(page))}, answered {again[again.IndexOf("<main", StringComparison.Ordinal)..]}"
                    );
                }
            } while (!syncing.IsCompleted);

            var ended = await syncing;
            Assert.Null(ended.Error);
            Assert.True(OperationQueue.CountsOf(ended).AddUp, ended.Counts);
        }

        Assert.Equal(barcodes.Count, saved.Count);
        Assert.Null((await library.SyncAsync()).Error);
        await foreach (var patron in library.Service<PatronService>().AllAsync(library.District.Id, new PatronFilter()))
        {
            if (patron.Guid is { } guid && saved.TryGetValue(guid, out var note))
            {
                Assert.Equal((note, "555-03", "Roster3"), (patron.Notes, patron.Phone, patron.FirstName));
            }
        }
    }
}
