using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Sqlite
{
    /// <inheritdoc />
    public partial class ListIndex : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_name_key_id",
                table: "patrons");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_name_key_id_search_key_site_id_status_level",
                table: "patrons",
                columns: new[] { "district_id", "name_key", "id", "search_key", "site_id", "status", "level" });
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_name_key_id_search_key_site_id_status_level",
                table: "patrons");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_name_key_id",
                table: "patrons",
                columns: new[] { "district_id", "name_key", "id" });
        }
    }
}
